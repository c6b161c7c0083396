"""A project in numbers."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from pipelines.agreement import agreement
from pipelines.runs import list_runs
from storage.events import replay
from storage.samples import Split

if TYPE_CHECKING:
    from storage.store import Store


def overview(store: "Store") -> dict[str, Any]:
    """Returns the project's counts (labeled + unlabeled + test = samples), classes, spaces of vectors and runs."""
    samples = store.catalog.samples()
    events = store.log.read()
    labels = replay(events)
    train = [s for s in samples if s.split is Split.TRAIN]
    labeled = [labels[s.sample_id] for s in train if s.sample_id in labels]
    counts = Counter(labeled)
    return {
        "project": str(store.project.root),
        "samples": len(samples),
        "labeled": len(labeled),
        "unlabeled": len(train) - len(labeled),
        "test": len(samples) - len(train),
        "classes": list(store.project.classes),
        "labels_per_class": {name: counts[name] for name in store.project.classes},
        "embedded": [space.backbone for space in store.vectors.spaces()],
        "runs": [
            {"name": run.name, "state": str(status.state), "step": status.step, "steps": status.steps}
            | {"message": status.message}
            for run in list_runs(store.project)
            for status in [run.status()]
        ],
        "agreement": agreement(events),
    }
