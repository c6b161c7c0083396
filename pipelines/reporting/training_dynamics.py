"""A run's record as pages show it: labels that flow between moments, who says what against whom, a selection's course.

Everything is summed up from the columns that it needs. Loads no torch.

Shape legend    G samples    M moments    K classes    R rows    B bins of steps
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

CHECKPOINTS = 4  # moments after the first
BINS = 24  # of steps, in a selection's course
TURNS = 2  # in which every sample has had its turn: they are dealt in turns, shuffled anew each
SAMPLES = "samples.json"

Codes = NDArray[np.int16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Samples whose label went from one class to another between two moments."""

    moment: int  # the first of the two, a place in `LabelSnapshots.steps`
    before: int  # places in `LabelSnapshots.classes`
    after: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What one says against what another says, of G samples."""

    sample_ids: list[str]
    classes: list[str]
    rows: Codes  # (G,) places in `classes`, what the first says
    columns: Codes  # (G,) what the second says

    def counts(self) -> NDArray[np.int64]:
        """Returns (K, K): how many samples have this row and this column."""
        k = len(self.classes)
        return np.bincount(self.rows.astype(np.int64) * k + self.columns, minlength=k * k).reshape(k, k)

    def cell(self, row: int, column: int) -> list[str]:
        """Returns the samples of a cell."""
        return [self.sample_ids[k] for k in np.flatnonzero((self.rows == row) & (self.columns == column))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How a selection went, in B bins of steps, those with records; NaN where a bin's records do not say."""

    steps: NDArray[np.float64]  # (B,) middles
    samples: int  # that the run has a record of
    teacher: NDArray[np.float64]  # (B, 3) lower quartile, median, upper quartile of the probability of its label
    student: NDArray[np.float64]  # (B, 3)
    flips: NDArray[np.float64]  # (B,) share of the teacher's answers that differ from the one before
    agreement: NDArray[np.float64]  # (B,) share of rows in which both say the same
    shares: Mapping[str, NDArray[np.float64]]  # class -> (B,) share of the teacher's answers


def flow(run: Run) -> LabelSnapshots | None:
    """Returns what was said at the run's checkpoints, a handful of them, and once every sample had had a turn at first.

    Returns None where nothing is recorded.

    Raises:
        ProjectError: a segment of the record cannot be read.
    """
    directory = run.path / "record"
    reach = extent(directory)
    if reach is None:
        return None
    turn = _turn(run, reach)
    return read_snapshots(directory, moments(reach, int(run.config().get("checkpoint_every", 0)), turn), TURNS * turn)


def moments(reach: Extent, checkpoint_every: int, turn: int) -> list[int]:
    """Returns the steps to look at: the end of the first turn, then checkpoints spread over the run, the last step too.

    Args:
        reach: how far the record goes.
        checkpoint_every: steps between two; where a run has fewer than three, its quarters are taken.
        turn: steps in which every sample is seen.
    """
    first = min(reach.first + turn - 1, reach.last)
    marks = (
        [step for step in range(checkpoint_every, reach.last, checkpoint_every) if step > first]
        if checkpoint_every
        else []
    )
    if len(marks) < CHECKPOINTS - 2:
        marks = np.linspace(first, reach.last, CHECKPOINTS + 1).round().astype(int)[1:-1].tolist()
    chosen = np.linspace(0, len(marks) - 1, min(CHECKPOINTS - 1, len(marks))).round().astype(int)
    return sorted({first, *(marks[k] for k in chosen), reach.last})


def moves(labels: Codes) -> list[Move]:
    """Returns the changes of (G, M) labels between one moment and the next, the largest first."""
    found = []
    for m in range(labels.shape[1] - 1):
        before, after = labels[:, m], labels[:, m + 1]
        changed = (before >= 0) & (after >= 0) & (before != after)
        pairs, counts = np.unique(np.stack([before[changed], after[changed]], 1), axis=0, return_counts=True)
        found += [
            Move(moment=m, before=int(a), after=int(b), count=int(n)) for (a, b), n in zip(pairs, counts, strict=True)
        ]
    return sorted(found, key=lambda move: (-move.count, move.moment, move.before, move.after))


def moved(said: LabelSnapshots, labels: Codes, moment: int, before: int, after: int) -> list[str]:
    """Returns the samples of a move."""
    chosen = (labels[:, moment] == before) & (labels[:, moment + 1] == after)
    return [said.sample_ids[k] for k in np.flatnonzero(chosen)]


def against(signals: Any, rows: str, columns: str, labels: Mapping[str, str], classes: Sequence[str]) -> Table:
    """Returns what one says against what another says, at the end of a run, of the samples of which both say something.

    Args:
        signals: of the run, see `gradebook.storage.training_dynamics`.
        rows: `teacher`, `student`, or `label` for what people say.
        columns: likewise.
        labels: sample_id -> class name, what people say.
        classes: the project's, which come first; what a run has said besides follows.
    """
    ids = signals["sample_id"].to_pylist()
    names = {name: k for k, name in enumerate(classes)}
    said = [_codes(signals, ids, who, labels, names) for who in (rows, columns)]
    both = (said[0] >= 0) & (said[1] >= 0)
    return Table(
        sample_ids=[ids[k] for k in np.flatnonzero(both)],
        classes=list(names),
        rows=said[0][both],
        columns=said[1][both],
    )


def course(rows: Any) -> Course | None:
    """Returns how a selection went from its (R,) rows of one run's history, a `pyarrow.Table`; None without rows."""
    if not rows.num_rows:
        return None
    rows = rows.sort_by([("sample_id", "ascending"), ("step", "ascending")])
    step = np.asarray(rows["step"].to_numpy(), np.int64)
    sample = coded(rows["sample_id"])[1]
    names, teacher = coded(rows["teacher_label"])
    student_names, student = coded(rows["student_label"])
    edges = np.linspace(step.min(), step.max() + 1, min(BINS, int(np.ptp(step)) + 1) + 1)
    there, place = np.unique(np.searchsorted(edges, step, side="right") - 1, return_inverse=True)
    bins = len(there)
    again = np.append(False, sample[1:] == sample[:-1]) & (teacher >= 0) & (np.append(-1, teacher[:-1]) >= 0)
    flipped = np.where(again, teacher != np.append(-1, teacher[:-1]), np.nan)
    both = (teacher >= 0) & (student >= 0)
    same = np.where(
        both, np.array([*names, None], object)[teacher] == np.array([*student_names, None], object)[student], np.nan
    )
    spoke = np.where(teacher >= 0, 1.0, np.nan)
    return Course(
        steps=((edges[:-1] + edges[1:] - 1) / 2)[there],
        samples=len(np.unique(sample)),
        teacher=_quartiles(place, rows["teacher_probability"], bins),
        student=_quartiles(place, rows["student_probability"], bins),
        flips=_means(place, flipped, bins),
        agreement=_means(place, same, bins),
        shares={name: _means(place, (teacher == k) * spoke, bins) for k, name in enumerate(names)},
    )


def _turn(run: Run, reach: Extent) -> int:
    """Returns the steps in which every sample of the record is seen once; all of them where that is not known."""
    try:
        known = len(
            set(json.loads((run.path / SAMPLES).read_text(encoding="utf-8"))["sample_ids"]) - run.labels().keys()
        )
    except (OSError, ValueError, KeyError):
        return reach.last - reach.first + 1
    steps = reach.last - reach.first + 1
    return min(max(-(-known * steps // reach.rows), 1), steps)


def _codes(signals: Any, ids: Sequence[str], who: str, labels: Mapping[str, str], names: dict[str, int]) -> Codes:
    said = [labels.get(i) for i in ids] if who == "label" else signals[f"{who}_label"].to_pylist()
    return np.array([-1 if name is None else names.setdefault(name, len(names)) for name in said], np.int16)


def _means(place: NDArray[np.int64], value: NDArray[np.float64], bins: int) -> NDArray[np.float64]:
    there = ~np.isnan(value)
    times = np.bincount(place[there], minlength=bins)
    total = np.bincount(place[there], weights=value[there], minlength=bins)
    return np.asarray(np.divide(total, times, out=np.full(bins, np.nan), where=times > 0))


def _quartiles(place: NDArray[np.int64], column: Any, bins: int) -> NDArray[np.float64]:
    value = np.asarray(column.to_numpy(), np.float64)
    found = np.full((bins, 3), np.nan)
    for k in range(bins):
        here = value[place == k]
        if (known := here[~np.isnan(here)]).size:
            found[k] = np.quantile(known, [0.25, 0.5, 0.75])
    return found
