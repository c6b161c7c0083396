"""The queue: which samples to look at next, and why, from what a run has left behind. Loads no torch."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.runs import PREDICTIONS, Run, State, list_runs
from storage.events import decisions
from storage.project import Project, ProjectError
from storage.samples import Sample, Split

if TYPE_CHECKING:
    from mpl.reasons import Evidence
    from storage.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One sample of the queue."""

    sample_id: str
    filepath: str
    label: str | None  # the finished student's guess; None before any run has finished
    probability: float | None  # of that guess
    reasons: dict[str, float]  # reason -> score in [0, 1], of the reasons whose evidence is known
    score: float  # what the queue is ordered by


def rank(store: "Store", run: Run | None, *, reason: str | None = None, limit: int = 50) -> list[Row]:
    """Returns the samples to look at, first ones first; those that somebody decided are left out.

    Args:
        store: the project.
        run: whose opinions to use; without one the samples come in order of import, without a guess.
        reason: the one reason to order by, instead of the default blend.
        limit: rows at most.

    Raises:
        ProjectError: there is no such reason, or the run has not finished.
    """
    _check(reason, limit)
    decided = decisions(store.log.read())
    waiting = {s.sample_id: s for s in store.catalog.samples(Split.TRAIN) if s.sample_id not in decided}
    if run is None:
        return [_unseen(sample) for sample in list(waiting.values())[:limit]]
    ids, classes, evidence = _evidence(store, run, waiting)
    return _rows([waiting[i] for i in ids], classes, evidence, reason, limit) if ids else []


def newest_finished(project: Project) -> Run | None:
    """Returns the newest run that has finished, if any: the one whose opinions count."""
    finished = [run for run in list_runs(project) if run.status().state is State.FINISHED]
    return finished[-1] if finished else None


def sentences() -> dict[str, str]:
    """Returns what each reason says to a reviewer: name -> sentence."""
    from mpl.reasons import REASONS

    return {name: reason.sentence for name, reason in REASONS.items()}


def as_json(row: Row) -> dict[str, Any]:
    """Returns a row as plain data."""
    return asdict(row)


def _rows(
    samples: Sequence[Sample], classes: Sequence[str], evidence: "Evidence", reason: str | None, limit: int
) -> list[Row]:
    from mpl import reasons

    columns = reasons.score(evidence)
    order_by = reasons.doubt(columns) if reason is None else np.nan_to_num(columns[reason], nan=-1.0)
    guess, probability = evidence.student.argmax(1), evidence.student.max(1)
    rows = []
    for k in np.argsort(-order_by, kind="stable")[:limit]:
        known = {name: round(float(c[k]), 4) for name, c in columns.items() if not np.isnan(c[k])}
        rows.append(
            Row(
                sample_id=samples[k].sample_id,
                filepath=samples[k].filepath,
                label=classes[guess[k]],
                probability=round(float(probability[k]), 4),
                reasons=known,
                score=round(float(order_by[k]), 4),
            )
        )
    return rows


def _evidence(store: "Store", run: Run, waiting: dict[str, Sample]) -> tuple[list[str], list[str], "Evidence"]:
    """Returns the ids of the waiting samples that the run has an opinion of, its classes, and the evidence."""
    import pyarrow.parquet as pq

    from mpl.reasons import Evidence

    path = run.path / PREDICTIONS
    if not path.exists():
        raise ProjectError(
            f"run {run.name} has not finished, so it has no opinion yet: go on with it, or choose another with --run"
        )
    predictions = pq.read_table(path)
    classes = json.loads(predictions.schema.metadata[b"classes"])
    ids = predictions["sample_id"].to_pylist()
    keep = np.array([k for k, i in enumerate(ids) if i in waiting], np.int64)
    kept = [ids[k] for k in keep]
    store.record.fold(run.name, run.path / "record")
    signals = _aligned(store.record.signals(run.name), kept)
    index = {name: k for k, name in enumerate(classes)}
    return (
        kept,
        classes,
        Evidence(
            student=_distributions(predictions["student"], len(classes))[keep],
            teacher=_distributions(predictions["teacher"], len(classes))[keep],
            mean_probability=_numbers(signals["mean_probability"]),
            flips=_numbers(signals["flips"]),
            steps=_numbers(signals["steps"]),
            agreement=_numbers(signals["agreement"]),
            mean_feedback=_numbers(signals["mean_feedback"]),
            teacher_label=np.array([index.get(name, -1) for name in signals["teacher_label"].to_pylist()], np.int64),
            best_label=np.array([index.get(name, -1) for name in signals["best_label"].to_pylist()], np.int64),
            mean_best_gain=_numbers(signals["mean_best_gain"]),
        ),
    )


def _aligned(signals: Any, ids: Sequence[str]) -> Any:
    """Returns the rows of `signals` for these ids in this order, nulls for samples that were never drawn."""
    import pyarrow as pa

    place = {i: k for k, i in enumerate(signals["sample_id"].to_pylist())}
    return signals.take(pa.array([place.get(i) for i in ids], pa.int64()))


def _distributions(column: Any, classes: int) -> NDArray[np.float64]:
    """Returns a column of lists as (N, K), NaN where it is null."""
    if column.null_count:
        return np.full((len(column), classes), np.nan)
    flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat, np.float64).reshape(len(column), classes)


def _numbers(column: Any) -> NDArray[np.float64]:
    return np.asarray(column.to_numpy(zero_copy_only=False), np.float64)


def _unseen(sample: Sample) -> Row:
    return Row(
        sample_id=sample.sample_id, filepath=sample.filepath, label=None, probability=None, reasons={}, score=0.0
    )


def _check(reason: str | None, limit: int) -> None:
    known = sentences()
    if reason is not None and reason not in known:
        raise ProjectError(f"there is no reason {reason!r}: choose one of {', '.join(known)}")
    if limit < 1:
        raise ProjectError(f"limit={limit} must be at least 1")
