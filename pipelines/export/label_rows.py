"""The rows of an export: labelled images, rejected ones, and predictions for the unlabelled ones."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.runs import Run
from gradebook.storage.events import decisions
from gradebook.storage.sample_files import changed_samples

if TYPE_CHECKING:
    from gradebook.storage.samples import Sample
    from gradebook.storage.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """The label of one sample, or a run's prediction for it."""

    filepath: str
    label: str  # `REJECTED` for a rejected image
    split: str
    sample_id: str
    by: str  # the actor of the event that decides it, run:NAME for a prediction
    at: str  # ISO 8601, UTC; empty for a prediction
    width: int  # pixels
    height: int  # pixels
    probability: float | None = None  # of a prediction
    probabilities: tuple[float, ...] = ()  # of a prediction, in the order of the run's classes


REJECTED = "rejected"  # written instead of a label
COLUMNS = ("filepath", "label", "split", "sample_id", "by", "at")
PREDICTED_COLUMNS = ("filepath", "label", "probability", "split", "sample_id", "by")


@dataclass(frozen=True, slots=True)
class Rows:
    """What is exported."""

    columns: tuple[str, ...]  # of a table
    classes: Sequence[str]  # in order
    labels: list[Label]
    changed: list[str]  # files that have changed since they were imported, and are left out

    def cells(self, label: Label) -> list[Any]:
        """Returns a row of a table: the columns, then the probability of each class if there are any."""
        return [getattr(label, name) for name in self.columns] + list(label.probabilities)

    def header(self) -> list[str]:
        """Returns the names of the columns of a table."""
        has_probabilities = self.columns == PREDICTED_COLUMNS
        return [*self.columns, *(f"probability of {name}" for name in self.classes if has_probabilities)]

    def relative_to(self, folder: Path) -> "Rows":
        """Returns the same with paths relative to a folder."""
        moved = [replace(label, filepath=os.path.relpath(label.filepath, folder)) for label in self.labels]
        return replace(self, labels=moved)


def labelled_rows(store: "Store") -> Rows:
    """Returns the current labels in order of import, without those of images whose file has changed since.

    Other programs find an image by its path, so they would take the new content for what was labelled.
    """
    return _decided_rows(store, rejected=False)


def rejected_rows(store: "Store") -> Rows:
    """Returns the images that a person rejected because no class applies, with `REJECTED` as their label."""
    return _decided_rows(store, rejected=True)


def predicted_rows(store: "Store", run: Run) -> Rows:
    """Returns a run's predictions for the images that nobody has decided, with the probability of each class.

    Raises:
        ProjectError: the run has not finished.
    """
    from gradebook.pipelines.reporting import predictions

    classes, rows = predictions.predicted_rows(store, run)
    samples = {s.sample_id: s for s in store.catalog.samples()}
    changed = _changed(store, [samples[row.sample_id] for row in rows])
    labels = [
        Label(
            **_of_sample(samples[row.sample_id]),
            label=row.label,
            by=f"run:{run.name}",
            at="",
            probability=row.probability,
            probabilities=tuple(row.probabilities.values()),
        )
        for row in rows
        if row.filepath not in changed
    ]
    return Rows(PREDICTED_COLUMNS, classes, labels, sorted(changed))


def _decided_rows(store: "Store", *, rejected: bool) -> Rows:
    decided = decisions(store.log.read())
    chosen = [
        (s, e)
        for s in store.catalog.samples()
        if (e := decided.get(s.sample_id)) is not None and (e.label is None) == rejected
    ]
    changed = _changed(store, [s for s, _ in chosen])
    labels = [
        Label(**_of_sample(s), label=e.label or REJECTED, by=e.actor, at=e.at.isoformat())
        for s, e in chosen
        if s.filepath not in changed
    ]
    return Rows(COLUMNS, store.project.classes, labels, sorted(changed))


def _changed(store: "Store", samples: "Sequence[Sample]") -> set[str]:
    return {s.filepath for s in changed_samples(store.catalog, list(samples))}


def _of_sample(sample: "Sample") -> dict[str, Any]:
    values: Iterator[tuple[str, Any]] = (
        (name, getattr(sample, name)) for name in ("filepath", "sample_id", "width", "height")
    )
    return dict(values) | {"split": sample.split.value}
