"""Training dynamics: the record of a run, summarised in one row per sample.

Shape legend    R rows of the record    G samples in it
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def schema() -> Any:
    """Returns the columns. Missing values, such as those of a teacher in a run without one, are null, never zero."""
    import pyarrow as pa

    return pa.schema(
        {
            "run": pa.string(),
            "sample_id": pa.string(),
            "steps": pa.int32(),  # times recorded
            "first_step": pa.int32(),
            "last_step": pa.int32(),
            "teacher_label": pa.string(),  # the last one
            "teacher_probability": pa.float32(),  # of that label, at that step
            "mean_probability": pa.float32(),  # of that label over the record; counts as 0 at steps with another label
            "flips": pa.int32(),  # changes of the teacher's label from one row to the next
            "settled_step": pa.int32(),  # first step of the last stretch of the same teacher label
            "student_label": pa.string(),  # the last one
            "student_probability": pa.float32(),  # of that label, at that step
            "agreement": pa.float32(),  # share of rows in which student and teacher give the same label
            "student_flips": pa.int32(),
            "mean_feedback": pa.float32(),
            "best_label": pa.string(),  # the class with the highest feedback at the last step
            "mean_best_gain": pa.float32(),
        }
    )


def summarise(run: str, history: Any) -> Any:
    """Returns a `pyarrow.Table` of `schema()` in order of sample_id, from R rows of one run in any order.

    Rows of one sample at the same step keep their order.
    """
    import pyarrow as pa

    names, ids = coded(history["sample_id"])
    rank = np.empty(len(names), np.int64)
    rank[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
    sample, step = rank[ids], history["step"].to_numpy()
    order = np.lexsort((step, sample))
    sample, step = sample[order], step[order]
    rows = np.bincount(sample, minlength=len(names))
    columns = {
        "run": np.full(len(names), run, object),
        "sample_id": np.array(sorted(names), object),
        "steps": rows,
        "first_step": step[np.cumsum(rows) - rows],
        "last_step": step[np.cumsum(rows) - 1],
        **_network_columns(history, order, sample, step, len(names)),
        "mean_feedback": _mean(sample, _numbers(history["feedback"], order), len(names)),
        "mean_best_gain": _mean(sample, _numbers(history["best_gain"], order), len(names)),
    }
    # `from_pandas` reads NaN as null.
    return pa.table([pa.array(columns[f.name], f.type, from_pandas=True) for f in schema()], schema=schema())


def _network_columns(history: Any, order: Ints, sample: Ints, step: Ints, samples: int) -> dict[str, Any]:
    """Returns the columns about teacher and student.

    Args:
        history: R rows.
        order: (R,) permutation that sorts the rows by sample and step.
        sample: (R,) index of each sorted row's sample.
        step: (R,) step of each sorted row.
        samples: G.
    """
    teacher_labels, teacher = _labels(history["teacher_label"], order)
    student_labels, student = _labels(history["student_label"], order)
    best_labels, best = _labels(history["best_label"], order)
    of_teacher = _summarise_network(sample, step, teacher, _numbers(history["teacher_probability"], order), samples)
    of_student = _summarise_network(sample, step, student, _numbers(history["student_probability"], order), samples)
    of_best = _summarise_network(sample, step, best, np.zeros(len(best)), samples)
    agreed = np.where((teacher >= 0) & (student >= 0), teacher_labels[teacher] == student_labels[student], np.nan)
    return {
        "teacher_label": teacher_labels[of_teacher.label],
        "teacher_probability": of_teacher.probability,
        "mean_probability": of_teacher.mean_probability,
        "flips": of_teacher.flips,
        "settled_step": of_teacher.settled_step,
        "student_label": student_labels[of_student.label],
        "student_probability": of_student.probability,
        "agreement": _mean(sample, agreed, samples),
        "student_flips": of_student.flips,
        "best_label": best_labels[of_best.label],
    }


@dataclass(frozen=True, slots=True)
class _NetworkSummary:
    """The labels of one network for each sample: (G,) arrays; label -1 and NaN for samples without a label."""

    label: Ints  # last
    probability: Floats  # last
    mean_probability: Floats
    flips: Floats
    settled_step: Floats


def _summarise_network(sample: Ints, step: Ints, label: Ints, probability: Floats, samples: int) -> _NetworkSummary:
    """Summarises R rows, sorted by sample and step; rows with label -1 are ignored."""
    is_labelled = label >= 0
    sample, step, label, probability = (
        sample[is_labelled],
        step[is_labelled],
        label[is_labelled],
        probability[is_labelled],
    )
    if not len(sample):
        nothing = np.full(samples, np.nan)
        return _NetworkSummary(np.full(samples, -1), nothing, nothing, nothing, nothing)
    times = np.bincount(sample, minlength=samples)
    seen, last = times > 0, np.cumsum(times) - 1
    last_label = np.where(seen, label[last], -1)
    changed = (sample[1:] == sample[:-1]) & (label[1:] != label[:-1])
    flips = np.bincount(sample[1:], weights=changed, minlength=samples)
    settled = np.where(seen, step[np.cumsum(times) - times - (times == 0)], 0)  # the first row, then each change
    np.maximum.at(settled, sample[1:][changed], step[1:][changed])
    return _NetworkSummary(
        label=last_label,
        probability=np.where(seen, probability[last], np.nan),
        mean_probability=_mean(sample, np.where(label == last_label[sample], probability, 0.0), samples),
        flips=np.where(seen, flips, np.nan),
        settled_step=np.where(seen, settled, np.nan),
    )


def _mean(sample: Ints, value: Floats, samples: int) -> Floats:
    """Returns the mean (G,) of each sample's values (R,) that are not NaN, NaN for samples without any."""
    known = ~np.isnan(value)
    total = np.bincount(sample[known], weights=value[known], minlength=samples)
    times = np.bincount(sample[known], minlength=samples)
    return np.asarray(np.divide(total, times, out=np.full(samples, np.nan), where=times > 0))


def _labels(column: Any, order: Ints) -> tuple[NDArray[np.object_], Ints]:
    """Returns the distinct labels, with None at the end for index -1, and each row's index into them."""
    names, codes = coded(column)
    return np.array([*names, None], object), codes[order]


def coded(column: Any) -> tuple[list[str], Ints]:
    """Returns the distinct names in a column of `history`, and each row's index into them (R,), -1 for null."""
    import pyarrow as pa

    # a dictionary read from disk may have repeated names, or None
    codes = column.cast(pa.string()).combine_chunks().dictionary_encode()
    return codes.dictionary.to_pylist(), np.asarray(
        codes.indices.fill_null(-1).to_numpy(zero_copy_only=False), np.int64
    )


def _numbers(column: Any, order: Ints) -> Floats:
    return np.asarray(column.to_numpy(), np.float64)[order]
