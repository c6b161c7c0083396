"""Evidence: what a run has left behind about samples, put side by side for the reasons. Loads no torch.

Shape legend    N samples    K classes
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradebook.pipelines.curation.feature_classifier import Predictions, Reading, predictions, reading
from gradebook.pipelines.runs import PREDICTIONS, Run
from gradebook.storage.project import ProjectError

if TYPE_CHECKING:
    from gradebook.mpl.reasons import Evidence
    from gradebook.storage.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of N samples."""

    sample_ids: list[str]
    classes: list[str]
    evidence: "Evidence"
    guess: NDArray[np.int64]  # (N,) the student's, or the second reader's where a label was given
    probability: NDArray[np.float64]  # (N,) of the guess
    space: NDArray[np.float32] | None  # (N, d), None where a sample has no vectors
    groups: NDArray[np.int64]  # (N,) near-duplicates have the same number
    beside: NDArray[np.float32] | None  # (M, d) the run's samples that were not asked about; None without vectors
    thought: Predictions  # of all the run's samples, as it has them
    read: Reading | None


def known(store: "Store", run: Run, sample_ids: Sequence[str], given: Mapping[str, str]) -> Known:
    """Returns what a finished run leaves of these samples; those of which it has no opinion are left out.

    Args:
        store: the project.
        run: whose opinions.
        sample_ids: samples without a label, or with one, but not both kinds at once.
        given: the labels in question: sample_id -> class name; empty for guesses.

    Raises:
        ProjectError: the run has not finished, or given labels are asked about and there are no vectors.
    """
    finished(run)
    thought = predictions(run)
    read = reading(store, run, thought)
    if given and read is None:
        raise ProjectError(
            f"given labels are judged by vectors, and the images of {run.name} have none: "
            f"run: gradebook embed {store.project.root}"
        )
    has_opinion = set(read.sample_ids.tolist() if given and read is not None else thought.sample_ids)
    ids = [sample_id for sample_id in sample_ids if sample_id in has_opinion]
    return _side_by_side(store, run, ids, given, thought, read)


def finished(run: Run) -> None:
    """Raises ProjectError where a run has not finished."""
    if not (run.path / PREDICTIONS).exists():
        raise ProjectError(
            f"run {run.name} has not finished, so it has no opinion yet: go on with it, or choose another with --run"
        )


def _side_by_side(
    store: "Store", run: Run, ids: list[str], given: Mapping[str, str], thought: Predictions, read: Reading | None
) -> Known:
    from gradebook.mpl.ranking import groups_of
    from gradebook.mpl.reasons import Evidence

    index = {name: k for k, name in enumerate(thought.classes)}
    student, teacher = (_at(thought.sample_ids, table, ids) for table in (thought.student, thought.teacher))
    names = ("fair", "around_fair", "similarity") if given else ("said", "around", "similarity")
    said, around, similarity = (_read(read, name, ids, len(index)) for name in names)
    guess, probability = _likeliest(said if given else student)
    label = np.array([index.get(given[i], -1) for i in ids], np.int64) if given else guess
    store.record.fold(run.name, run.path / "record")
    signals = _aligned(store.record.dynamics(run.name), ids)
    length = np.maximum(_numbers(signals["last_step"]) - _numbers(signals["first_step"]), 1)
    evidence = Evidence(
        student=student,
        teacher=teacher,
        mean_probability=_numbers(signals["mean_probability"]),
        flips=_numbers(signals["flips"]),
        steps=_numbers(signals["steps"]),
        agreement=_numbers(signals["agreement"]),
        mean_feedback=_numbers(signals["mean_feedback"]),
        teacher_label=_indices(signals["teacher_label"], index),
        best_label=_indices(signals["best_label"], index),
        mean_best_gain=_numbers(signals["mean_best_gain"]),
        settled=(_numbers(signals["settled_step"]) - _numbers(signals["first_step"])) / length,
        label=label,
        given=np.full(len(ids), bool(given)),
        reading=said,
        around=around,
        similarity=similarity[:, 0],
        twin_label=_twin_labels(store, run, ids, label, thought, read),
    )
    return Known(
        sample_ids=ids,
        classes=thought.classes,
        evidence=evidence,
        guess=guess,
        probability=probability,
        space=None if read is None else _space(read, ids),
        groups=np.arange(len(ids)) if read is None else _numbered(read.sample_ids, groups_of(read.twins), ids),
        beside=None if read is None else read.space[~np.isin(read.sample_ids, np.array(ids))].astype(np.float32),
        thought=thought,
        read=read,
    )


def _twin_labels(
    store: "Store", run: Run, ids: list[str], label: NDArray[np.int64], thought: Predictions, read: Reading | None
) -> NDArray[np.int64]:
    """Returns the label of each sample's near-duplicate, one that differs if there is one; -1 without any."""
    from gradebook.storage.events import replay

    found = np.full(len(ids), -1, np.int64)
    if read is None:
        return found
    index = {name: k for k, name in enumerate(thought.classes)}
    labels = dict(zip(thought.sample_ids, thought.student.argmax(1).tolist(), strict=True))
    labels |= {i: index.get(name, -1) for i, name in replay(store.log.read()).items()}
    place = {sample_id: k for k, sample_id in enumerate(ids)}
    for later in np.flatnonzero(read.twins >= 0).tolist():
        pair = str(read.sample_ids[later]), str(read.sample_ids[read.twins[later]])
        for one, other in (pair, pair[::-1]):
            k, name = place.get(one, -1), labels.get(other, -1)
            if k >= 0 and name >= 0 and found[k] in (-1, label[k]):
                found[k] = name
    return found


def _space(read: Reading, ids: Sequence[str]) -> NDArray[np.float32] | None:
    """Returns where these samples lie (N, d), None where one of them has no vectors."""
    rows = _rows(read.sample_ids.tolist(), ids)
    return None if (rows < 0).any() else read.space[rows].astype(np.float32)


def _rows(there: Sequence[str], ids: Sequence[str]) -> NDArray[np.int64]:
    """Returns the places (N,) of these ids, -1 for those that are not there."""
    place = {sample_id: row for row, sample_id in enumerate(there)}
    return np.array([place.get(sample_id, -1) for sample_id in ids], np.int64)


def _at(there: Sequence[str], table: NDArray[Any], ids: Sequence[str]) -> NDArray[np.float64]:
    """Returns the rows (N, ...) of these ids, NaN for those that are not there."""
    rows = _rows(there, ids)
    out = np.full((len(ids), *table.shape[1:]), np.nan)
    out[rows >= 0] = table[rows[rows >= 0]]
    return out


def _read(read: Reading | None, name: str, ids: Sequence[str], classes: int) -> NDArray[np.float64]:
    if read is None:
        return np.full((len(ids), classes), np.nan)
    table: NDArray[np.float32] = getattr(read, name)
    return _at(read.sample_ids.tolist(), table.reshape(len(table), -1), ids)


def _numbered(there: NDArray[np.str_], groups: NDArray[np.int64], ids: Sequence[str]) -> NDArray[np.int64]:
    """Returns the groups of these ids; one that is not there is a group of its own."""
    found = _at(there.tolist(), groups, ids)
    return np.where(np.isnan(found), len(groups) + np.arange(len(ids)), np.nan_to_num(found)).astype(np.int64)


def _likeliest(said: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    return said.argmax(1), said.max(1)


def _aligned(signals: Any, ids: Sequence[str]) -> Any:
    """Returns the rows of `signals` for these ids in this order, nulls for samples that were never drawn."""
    import pyarrow as pa

    place = {i: k for k, i in enumerate(signals["sample_id"].to_pylist())}
    return signals.take(pa.array([place.get(i) for i in ids], pa.int64()))


def _indices(column: Any, index: Mapping[str, int]) -> NDArray[np.int64]:
    return np.array([index.get(name, -1) for name in column.to_pylist()], np.int64)


def _numbers(column: Any) -> NDArray[np.float64]:
    return np.asarray(column.to_numpy(zero_copy_only=False), np.float64)
