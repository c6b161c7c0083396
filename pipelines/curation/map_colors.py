"""What the map's points can be coloured by: of each sample a class, a yes or no, or a number. Loads no torch.

Shape legend    N samples
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradebook.pipelines.curation import queue_items
from gradebook.pipelines.runs import Run
from gradebook.storage.project import ProjectError

if TYPE_CHECKING:
    from gradebook.storage.store import Store

LABEL, TEACHER, STUDENT, DISAGREEMENT, FEEDBACK, PROBABILITY, REASON = NAMES = (
    "label",
    "teacher",
    "student",
    "disagreement",
    "feedback",
    "probability",
    "reason",
)
NOTHING = -1
BINS = 33  # colours of a number; odd, so that zero has one of its own
STRONG = 0.98  # quantile of the numbers' size at which their colour ends
AGREE, DISAGREE = "They say the same", "They differ"


class Kind(StrEnum):
    """What the colours mean."""

    CLASSES = "classes"  # one of several names
    SHARE = "share"  # a number in [0, 1]
    BALANCE = "balance"  # a number on both sides of zero


@dataclass(frozen=True, slots=True, kw_only=True)
class Colouring:
    """Of each sample the group that gives its colour."""

    kind: Kind
    groups: NDArray[np.int16]  # (N,) a group's place in `names`, or `NOTHING`
    names: tuple[str, ...]  # class names; of numbers what each bin stands for, in order
    ends: tuple[float, float] = (0.0, 1.0)  # of numbers: what the first and the last bin stand for


def colouring(
    store: "Store", run: Run | None, sample_ids: Sequence[str], by: str, labels: Mapping[str, str], reason: str | None
) -> Colouring:
    """Returns what colours samples by one of `NAMES`.

    Args:
        store: the project.
        run: whose opinions; only a label needs none.
        sample_ids: N of them.
        by: one of `NAMES`.
        labels: sample_id -> class name.
        reason: where `by` is a reason, which one; None for the queue's default order.

    Raises:
        ProjectError: there is no run, it has not finished where a reason is asked for, or there is no such reason.
    """
    if by == LABEL:
        return _classes([labels.get(i) for i in sample_ids], store.project.classes)
    if run is None:
        raise ProjectError(f"no run has predictions for the images yet: gradebook train {store.project.root}")
    if by == REASON:
        return _reason(store, run, sample_ids, labels, reason)
    dynamics = _signals(store, run, sample_ids)
    if by in (TEACHER, STUDENT):
        return _classes(dynamics[f"{by}_label"].to_pylist(), store.project.classes)
    if by == DISAGREEMENT:
        pairs = zip(dynamics["teacher_label"].to_pylist(), dynamics["student_label"].to_pylist(), strict=True)
        both = [None if None in (t, s) else AGREE if t == s else DISAGREE for t, s in pairs]
        return _classes(both, (DISAGREE, AGREE))
    numbers = dynamics["mean_feedback" if by == FEEDBACK else "student_probability"]
    values = np.asarray(numbers.to_numpy(zero_copy_only=False), np.float64)
    return _balance(values) if by == FEEDBACK else _share(values)


def _signals(store: "Store", run: Run, sample_ids: Sequence[str]) -> Any:
    """Returns what the run's record comes to, a row a sample, null where it has none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    store.record.fold(run.name, run.path / "record")
    dynamics = store.record.dynamics(run.name)
    return dynamics.take(pc.index_in(pa.array(sample_ids, pa.string()), value_set=dynamics["sample_id"]))


def _reason(
    store: "Store", run: Run, sample_ids: Sequence[str], labels: Mapping[str, str], reason: str | None
) -> Colouring:
    from gradebook.pipelines.curation import reason_cache

    known, reason = queue_items.sentences(), reason and queue_items.reason_name(reason)
    if reason is not None and reason not in known:
        raise ProjectError(f"there is no reason {reason!r}: choose one of {', '.join(known)}")
    given = dict(labels) if reason == queue_items.GIVEN else None
    table = reason_cache.reasons(store, run, given)
    scores = table.scores(reason, labels)
    places = table.places(sample_ids)
    values = np.full(len(places), np.nan)
    values[places >= 0] = scores[places[places >= 0]]
    return _share(np.where(values < 0, np.nan, values))


def _classes(labels: Sequence[str | None], first: Sequence[str]) -> Colouring:
    names = tuple(dict.fromkeys([*first, *(name for name in labels if name is not None)]))
    index = {name: k for k, name in enumerate(names)}
    groups = np.array([NOTHING if name is None else index[name] for name in labels], np.int16)
    return Colouring(kind=Kind.CLASSES, groups=groups, names=names)


def _share(values: NDArray[np.float64]) -> Colouring:
    return _numbers(Kind.SHARE, values, (0.0, 1.0), "{:.0%}")


def _balance(values: NDArray[np.float64]) -> Colouring:
    """Returns colours on both sides of zero; the strongest two in a hundred share the last colours."""
    there = np.abs(values[~np.isnan(values)])
    end = float(np.quantile(there, STRONG)) if there.size else 0.0
    end = end or (float(there.max()) if there.size else 0.0) or 1.0
    return _numbers(Kind.BALANCE, values, (-end, end), "{:+.2g}")


def _numbers(kind: Kind, values: NDArray[np.float64], ends: tuple[float, float], form: str) -> Colouring:
    low, high = ends
    bins = np.clip(np.rint((np.nan_to_num(values) - low) / (high - low) * (BINS - 1)), 0, BINS - 1)
    groups = np.where(np.isnan(values), NOTHING, bins).astype(np.int16)
    names = tuple(form.format(low + (high - low) * k / (BINS - 1)) for k in range(BINS))
    return Colouring(kind=kind, groups=groups, names=names, ends=ends)
