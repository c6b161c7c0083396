"""The colours of the map's points: a class, a yes or no, or a number for each sample. Loads no torch.

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
from gradebook.storage.class_changes import OTHER, hex_color
from gradebook.storage.project import Project, ProjectError
from gradebook.storage.run_classes import run_classes

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
MISSING = -1
BINS = 33  # steps of a colour scale; odd, so that zero is the middle one
END_QUANTILE = 0.98  # quantile of the absolute values at which the colour scale ends
AGREE, DISAGREE = "They agree", "They differ"
OTHERS = "other classes"  # those without a color of their own, from the thirteenth on


class Kind(StrEnum):
    """What the colours mean."""

    CLASSES = "classes"  # one of several names
    SHARE = "share"  # a number in [0, 1]
    BALANCE = "balance"  # a number that is positive or negative


@dataclass(frozen=True, slots=True, kw_only=True)
class Coloring:
    """The group of each sample, which gives its colour."""

    kind: Kind
    groups: NDArray[np.int16]  # (N,) index in `names`, or `MISSING`
    names: tuple[str, ...]  # class names, or the value of each bin of a number, in order
    colors: tuple[str, ...] = ()  # of the class names, as #RRGGBB; empty for numbers
    ends: tuple[float, float] = (0.0, 1.0)  # values of the first and the last bin of a number


def coloring(
    store: "Store", run: Run | None, sample_ids: Sequence[str], by: str, labels: Mapping[str, str], reason: str | None
) -> Coloring:
    """Returns the colours of samples by one of `NAMES`.

    Args:
        store: the project.
        run: whose predictions and record; not needed for "label".
        sample_ids: N samples.
        by: one of `NAMES`.
        labels: sample_id -> class name.
        reason: which reason, if `by` is "reason"; None for the queue's default order.

    Raises:
        ProjectError: there is no run, a reason is requested of a run that has not finished, or there is no such reason.
    """
    if by == LABEL:
        return _classes([labels.get(i) for i in sample_ids], store.project)
    if run is None:
        raise ProjectError(f"no run has predictions for the images yet: gradebook train {store.project.root}")
    if by == REASON:
        return _reason(store, run, sample_ids, labels, reason)
    dynamics = _read_dynamics(store, run, sample_ids)
    if by in (TEACHER, STUDENT):
        class_map = run_classes(run.config(), store.project.history)
        return _classes([class_map.rename(name) for name in dynamics[f"{by}_label"].to_pylist()], store.project)
    if by == DISAGREEMENT:
        pairs = zip(dynamics["teacher_label"].to_pylist(), dynamics["student_label"].to_pylist(), strict=True)
        both = [None if None in (t, s) else AGREE if t == s else DISAGREE for t, s in pairs]
        return _named(both, (DISAGREE, AGREE), ())
    numbers = dynamics["mean_feedback" if by == FEEDBACK else "student_probability"]
    values = np.asarray(numbers.to_numpy(zero_copy_only=False), np.float64)
    return _balance(values) if by == FEEDBACK else _share(values)


def _read_dynamics(store: "Store", run: Run, sample_ids: Sequence[str]) -> Any:
    """Returns the training dynamics of each sample, null for samples without a record."""
    import pyarrow as pa
    import pyarrow.compute as pc

    store.record.fold(run.name, run.path / "record")
    dynamics = store.record.dynamics(run.name)
    return dynamics.take(pc.index_in(pa.array(sample_ids, pa.string()), value_set=dynamics["sample_id"]))


def _reason(
    store: "Store", run: Run, sample_ids: Sequence[str], labels: Mapping[str, str], reason: str | None
) -> Coloring:
    from gradebook.pipelines.curation import reason_cache

    sentences, reason = queue_items.sentences(), reason and queue_items.reason_name(reason)
    if reason is not None and reason not in sentences:
        raise ProjectError(f"there is no reason {reason!r}: choose one of {', '.join(sentences)}")
    given = dict(labels) if reason == queue_items.GIVEN else None
    table = reason_cache.reasons(store, run, given)
    scores = table.scores(reason, labels)
    indices = table.indices(sample_ids)
    values = np.full(len(indices), np.nan)
    values[indices >= 0] = scores[indices[indices >= 0]]
    return _share(np.where(values < 0, np.nan, values))


def _classes(labels: Sequence[str | None], project: Project) -> Coloring:
    """Returns a group for each class that has a color of its own, and one for all others if any of these occurs."""
    colors = {c.name: hex_color(c) for c in project.styled_classes if c.color is not None}
    grouped = [None if name is None else name if name in colors else OTHERS for name in labels]
    if OTHERS in grouped:
        colors[OTHERS] = OTHER
    return _named(grouped, tuple(colors), tuple(colors.values()))


def _named(labels: Sequence[str | None], names: tuple[str, ...], colors: tuple[str, ...]) -> Coloring:
    index = {name: k for k, name in enumerate(names)}
    groups = np.array([MISSING if name is None else index[name] for name in labels], np.int16)
    return Coloring(kind=Kind.CLASSES, groups=groups, names=names, colors=colors)


def _share(values: NDArray[np.float64]) -> Coloring:
    return _numbers(Kind.SHARE, values, (0.0, 1.0), "{:.0%}")


def _balance(values: NDArray[np.float64]) -> Coloring:
    """Returns colours on both sides of zero; the largest 2 % of the absolute values share the last colours."""
    sizes = np.abs(values[~np.isnan(values)])
    end = float(np.quantile(sizes, END_QUANTILE)) if sizes.size else 0.0
    end = end or (float(sizes.max()) if sizes.size else 0.0) or 1.0
    return _numbers(Kind.BALANCE, values, (-end, end), "{:+.2g}")


def _numbers(kind: Kind, values: NDArray[np.float64], ends: tuple[float, float], format_spec: str) -> Coloring:
    low, high = ends
    bins = np.clip(np.rint((np.nan_to_num(values) - low) / (high - low) * (BINS - 1)), 0, BINS - 1)
    groups = np.where(np.isnan(values), MISSING, bins).astype(np.int16)
    names = tuple(format_spec.format(low + (high - low) * k / (BINS - 1)) for k in range(BINS))
    return Coloring(kind=kind, groups=groups, names=names, ends=ends)
