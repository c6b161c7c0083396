"""A run's record, aggregated for the pages: changes of labels, cross tables of labels, curves of a selection.

Reads only the columns that an aggregate needs. Loads no torch.

Shape legend    G samples    M snapshots    K classes    R rows    B bins of steps
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradebook.pipelines.runs import Run
from gradebook.storage.label_snapshots import Extent, LabelSnapshots, extent, read_snapshots
from gradebook.storage.training_dynamics import coded

MAX_LATER_SNAPSHOTS = 4  # after the first one
MAX_BINS = 24  # of `DynamicsCurves`
EPOCHS = 2  # before a snapshot: samples are shuffled in each epoch, so any two epochs' worth of steps has every sample
SAMPLES = "samples.json"

Codes = NDArray[np.int16]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelChange:
    """The number of samples whose label changed from one class to another between two snapshots."""

    snapshot: int  # the first of the two, an index into `LabelSnapshots.steps`
    before: int  # indices into `LabelSnapshots.classes`
    after: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossTable:
    """The labels of G samples from two sources."""

    sample_ids: list[str]
    classes: list[str]
    rows: Codes  # (G,) labels of the first source, indices into `classes`
    columns: Codes  # (G,) labels of the second

    def counts(self) -> NDArray[np.int64]:
        """Returns the confusion matrix (K, K)."""
        k = len(self.classes)
        return np.bincount(self.rows.astype(np.int64) * k + self.columns, minlength=k * k).reshape(k, k)

    def cell(self, row: int, column: int) -> list[str]:
        """Returns the ids of the samples in a cell."""
        return [self.sample_ids[k] for k in np.flatnonzero((self.rows == row) & (self.columns == column))]


@dataclass(frozen=True, slots=True, kw_only=True)
class DynamicsCurves:
    """The training dynamics of a selection in B bins of steps. Bins without rows are left out; NaN where unknown."""

    steps: NDArray[np.float64]  # (B,) bin centres
    samples: int  # of the selection that the run has recorded
    teacher: NDArray[np.float64]  # (B, 3) quartiles of the probability of the teacher's label
    student: NDArray[np.float64]  # (B, 3) the same for the student
    flips: NDArray[np.float64]  # (B,) share of the teacher's labels that differ from the previous one of the sample
    agreement: NDArray[np.float64]  # (B,) share of rows in which teacher and student give the same label
    shares: Mapping[str, NDArray[np.float64]]  # class -> (B,) share of the teacher's labels


def read_label_flow(run: Run) -> LabelSnapshots | None:
    """Returns label snapshots at the end of the first epoch and at a few checkpoints; None without a record.

    Raises:
        ProjectError: a segment of the record cannot be read.
    """
    directory = run.path / "record"
    recorded = extent(directory)
    if recorded is None:
        return None
    epoch = _epoch_steps(run, recorded)
    steps = snapshot_steps(recorded, int(run.config().get("checkpoint_every", 0)), epoch)
    return read_snapshots(directory, steps, EPOCHS * epoch)


def snapshot_steps(recorded: Extent, checkpoint_every: int, epoch: int) -> list[int]:
    """Returns the end of the first epoch, checkpoints spread over the run, and the last step.

    Args:
        recorded: range of the record.
        checkpoint_every: steps between two checkpoints; with too few of them, equal parts of the run take their place.
        epoch: steps in which every sample is seen.
    """
    first = min(recorded.first + epoch - 1, recorded.last)
    checkpoints = (
        [step for step in range(checkpoint_every, recorded.last, checkpoint_every) if step > first]
        if checkpoint_every
        else []
    )
    if len(checkpoints) < MAX_LATER_SNAPSHOTS - 2:
        checkpoints = np.linspace(first, recorded.last, MAX_LATER_SNAPSHOTS + 1).round().astype(int)[1:-1].tolist()
    count = min(MAX_LATER_SNAPSHOTS - 1, len(checkpoints))
    chosen = np.linspace(0, len(checkpoints) - 1, count).round().astype(int)
    return sorted({first, *(checkpoints[k] for k in chosen), recorded.last})


def count_label_changes(labels: Codes) -> list[LabelChange]:
    """Returns the changes of (G, M) labels between each snapshot and the next, the largest first."""
    changes = []
    for m in range(labels.shape[1] - 1):
        before, after = labels[:, m], labels[:, m + 1]
        changed = (before >= 0) & (after >= 0) & (before != after)
        pairs, counts = np.unique(np.stack([before[changed], after[changed]], 1), axis=0, return_counts=True)
        changes += [
            LabelChange(snapshot=m, before=int(a), after=int(b), count=int(n))
            for (a, b), n in zip(pairs, counts, strict=True)
        ]
    return sorted(changes, key=lambda change: (-change.count, change.snapshot, change.before, change.after))


def changed_samples(snapshots: LabelSnapshots, labels: Codes, snapshot: int, before: int, after: int) -> list[str]:
    """Returns the ids of the samples of a label change."""
    chosen = (labels[:, snapshot] == before) & (labels[:, snapshot + 1] == after)
    return [snapshots.sample_ids[k] for k in np.flatnonzero(chosen)]


def cross_tabulate(
    dynamics: Any, rows: str, columns: str, labels: Mapping[str, str], classes: Sequence[str]
) -> CrossTable:
    """Returns the last labels of two sources for the samples that both have labelled.

    Args:
        dynamics: of the run, see `gradebook.storage.training_dynamics`.
        rows: source of the rows: `teacher`, `student`, or `label` for the human labels.
        columns: source of the columns, likewise.
        labels: sample_id -> class name, the human labels.
        classes: of the project, which come first; other classes in the record follow.
    """
    ids = dynamics["sample_id"].to_pylist()
    indices = {name: k for k, name in enumerate(classes)}
    first, second = (_codes(dynamics, ids, source, labels, indices) for source in (rows, columns))
    both = (first >= 0) & (second >= 0)
    return CrossTable(
        sample_ids=[ids[k] for k in np.flatnonzero(both)],
        classes=list(indices),
        rows=first[both],
        columns=second[both],
    )


def dynamics_curves(rows: Any) -> DynamicsCurves | None:
    """Returns the curves of a selection from its (R,) rows of one run, a `pyarrow.Table`; None without rows."""
    if not rows.num_rows:
        return None
    rows = rows.sort_by([("sample_id", "ascending"), ("step", "ascending")])
    step = np.asarray(rows["step"].to_numpy(), np.int64)
    sample = coded(rows["sample_id"])[1]
    names, teacher = coded(rows["teacher_label"])
    student_names, student = coded(rows["student_label"])
    edges = np.linspace(step.min(), step.max() + 1, min(MAX_BINS, int(np.ptp(step)) + 1) + 1)
    filled, bin_of_row = np.unique(np.searchsorted(edges, step, side="right") - 1, return_inverse=True)
    bins = len(filled)
    previous = np.append(-1, teacher[:-1])
    comparable = np.append(False, sample[1:] == sample[:-1]) & (teacher >= 0) & (previous >= 0)
    flipped = np.where(comparable, teacher != previous, np.nan)
    both = (teacher >= 0) & (student >= 0)
    same = np.where(
        both, np.array([*names, None], object)[teacher] == np.array([*student_names, None], object)[student], np.nan
    )
    labelled = np.where(teacher >= 0, 1.0, np.nan)
    return DynamicsCurves(
        steps=((edges[:-1] + edges[1:] - 1) / 2)[filled],
        samples=len(np.unique(sample)),
        teacher=_quartiles(bin_of_row, rows["teacher_probability"], bins),
        student=_quartiles(bin_of_row, rows["student_probability"], bins),
        flips=_means(bin_of_row, flipped, bins),
        agreement=_means(bin_of_row, same, bins),
        shares={name: _means(bin_of_row, (teacher == k) * labelled, bins) for k, name in enumerate(names)},
    )


def _epoch_steps(run: Run, recorded: Extent) -> int:
    """Returns the number of steps in which every recorded sample is seen once; all steps if that is unknown."""
    steps = recorded.last - recorded.first + 1
    try:
        sample_ids = json.loads((run.path / SAMPLES).read_text(encoding="utf-8"))["sample_ids"]
        unlabelled = len(set(sample_ids) - run.labels().keys())
    except (OSError, ValueError, KeyError):
        return steps
    return min(max(-(-unlabelled * steps // recorded.rows), 1), steps)


def _codes(dynamics: Any, ids: Sequence[str], source: str, labels: Mapping[str, str], indices: dict[str, int]) -> Codes:
    """Returns the (G,) labels of a source as indices, -1 for none; extends `indices` by classes that it lacks."""
    names = [labels.get(i) for i in ids] if source == "label" else dynamics[f"{source}_label"].to_pylist()
    return np.array([-1 if name is None else indices.setdefault(name, len(indices)) for name in names], np.int16)


def _means(bin_of_row: NDArray[np.int64], value: NDArray[np.float64], bins: int) -> NDArray[np.float64]:
    """Returns the (B,) means of the values that are not NaN."""
    known = ~np.isnan(value)
    times = np.bincount(bin_of_row[known], minlength=bins)
    total = np.bincount(bin_of_row[known], weights=value[known], minlength=bins)
    return np.asarray(np.divide(total, times, out=np.full(bins, np.nan), where=times > 0))


def _quartiles(bin_of_row: NDArray[np.int64], column: Any, bins: int) -> NDArray[np.float64]:
    """Returns the (B, 3) quartiles of the values that are not null."""
    value = np.asarray(column.to_numpy(), np.float64)
    quartiles = np.full((bins, 3), np.nan)
    for k in range(bins):
        in_bin = value[bin_of_row == k]
        if (known := in_bin[~np.isnan(in_bin)]).size:
            quartiles[k] = np.quantile(known, [0.25, 0.5, 0.75])
    return quartiles
