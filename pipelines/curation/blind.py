"""Images that a reviewer labels without seeing a prediction: test images, and those of an open audit.

A prediction on the screen biases the reviewer, so labels that measure a model are given without one.
"""

from collections.abc import Iterable

from gradebook.pipelines.curation.audit_files import open_audit
from gradebook.storage.project import Project
from gradebook.storage.samples import Sample, Split


def hidden(project: Project, samples: Iterable[Sample]) -> set[str]:
    """Returns the ids of those samples whose prediction must not be shown to a reviewer."""
    audited = in_open_audit(project)
    return {s.sample_id for s in samples if s.split is Split.TEST or s.sample_id in audited}


def in_open_audit(project: Project) -> frozenset[str]:
    """Returns the ids of the images that an open audit has drawn, which the ordinary queue leaves out."""
    audit = open_audit(project)
    return frozenset(audit.drawn if audit is not None else ())
