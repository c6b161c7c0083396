"""Training dynamics: the record of a run, summed up in one row a sample. A pure fold over `history`.

Shape legend    R rows of the record    G samples in it
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def schema() -> Any:
    """Returns the columns. Values that the record does not have, such as those of a teacher, are null, never zero."""
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
            "mean_probability": pa.float32(),  # of that label over the record; 0 where the teacher gave another label
            "flips": pa.int32(),  # changes of the teacher's label from one row to the next
            "settled_step": pa.int32(),  # from which on the teacher's label was the last one
            "student_label": pa.string(),  # the last one
            "student_probability": pa.float32(),  # of that label, at that step
            "agreement": pa.float32(),  # share of rows in which student and teacher give the same label
            "student_flips": pa.int32(),
            "mean_feedback": pa.float32(),
            "best_label": pa.string(),  # the last class with the highest feedback
            "mean_best_gain": pa.float32(),
        }
    )


def summarise(run: str, history: Any) -> Any:
    """Returns a `pyarrow.Table` of `schema()` in order of sample_id from the (R,) rows of one run in any order.

    Rows of one sample at one step keep the order in which they stand.
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
        order: (R,) sorts them by sample and step.
        sample: (R,) in this order.
        step: (R,) likewise.
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
    """The labels of one network, by sample: (G,) arrays; label -1 and NaN where it gave none."""

    label: Ints  # last
    probability: Floats  # last
    mean_probability: Floats
    flips: Floats
    settled_step: Floats


def _summarise_network(sample: Ints, step: Ints, label: Ints, probability: Floats, samples: int) -> _NetworkSummary:
    """Takes (R,) rows sorted by sample and step; rows with label -1 are ignored."""
    given = label >= 0
    sample, step, label, probability = sample[given], step[given], label[given], probability[given]
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
    """Returns the (G,) means of the (R,) values that are not NaN, NaN where a sample has none."""
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

    # a dictionary that was read may have names twice, or None among them
    codes = column.cast(pa.string()).combine_chunks().dictionary_encode()
    return codes.dictionary.to_pylist(), np.asarray(
        codes.indices.fill_null(-1).to_numpy(zero_copy_only=False), np.int64
    )


def _numbers(column: Any, order: Ints) -> Floats:
    return np.asarray(column.to_numpy(), np.float64)[order]
