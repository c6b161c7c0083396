"""The files of runs have the content that was written: settings, samples and labels, and with content all others."""

from collections.abc import Iterator

from gradebook.pipelines.maintenance.checks.finding import Finding, Subject
from gradebook.pipelines.runs import PREDICTIONS
from gradebook.pipelines.training.student import WEIGHTS
from gradebook.storage import checksums


def results_are_unchanged(subject: Subject) -> Iterator[Finding]:
    """The files of a run match their checksums; without content only the small ones are read."""
    for run in subject.every_run:
        again = (
            f", or delete it and make it again from the last checkpoint: "
            f"gradebook train {subject.store.project.root} --resume --run {run.name}"
        )
        pattern = "*" if subject.content else "*.json"
        for path in (p for d in sorted({run.path, run.results}) for p in checksums.corrupt_files(d, pattern)):
            yield Finding(
                problem=f"{path.name} of {run.name} is corrupt: it does not match its checksum",
                where=(str(path),),
                advice="restore it from a backup" + (again if path.name in (PREDICTIONS, WEIGHTS) else ""),
            )


def segments_are_unchanged(subject: Subject) -> Iterator[Finding]:
    """The record's segments match their checksums."""
    for run in subject.every_run if subject.content else []:
        if bad := checksums.corrupt_files(run.path / "record"):
            yield Finding(
                problem=f"{len(bad)} record segments of {run.name} are corrupt: they do not match their checksums",
                where=tuple(map(str, bad)),
                advice="restore them from a backup; rows that were folded before are still in the history, so do not "
                "fold this run again",
            )
