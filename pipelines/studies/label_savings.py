"""Results of simulated active learning: accuracy by number of labels, and labels saved, as tables and as a plot."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradebook.pipelines.studies.active_learning import Curves

BASELINE = "random"
BOOTSTRAP_SAMPLES = 2_000  # resamplings of the seeds
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito, 2008


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One strategy's accuracy by number of labels, over seeds."""

    labels: list[int]  # one number for each training
    accuracy: list[list[float]]  # a row for each seed

    def mean(self, rows: Sequence[int] | None = None) -> NDArray[np.float64]:
        """Returns the mean over the seeds, or over these rows of them."""
        table = np.array(self.accuracy)
        return np.asarray((table if rows is None else table[list(rows)]).mean(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Saving:
    """The number of labels with which a strategy reaches an accuracy of the baseline."""

    labels: float  # interpolated on the mean over seeds; inf if the accuracy is never reached
    at_most: bool  # whether it is reached at the first training, so that fewer labels may be enough
    share: float  # `labels` as a share of the baseline's labels
    low: float  # of the share, 95 % interval over resampled seeds
    high: float  # of the share; inf if more than 2.5 % of the resamplings never reach the accuracy


def curves_of(simulated: Curves) -> dict[str, Curve]:
    """Returns the trainings as curves, without the round before the first label."""
    curves: dict[str, Curve] = {}
    for strategy, seeds in simulated.items():
        rows = [
            [(round_.labels, round_.accuracy) for round_ in rounds if round_.accuracy is not None]
            for rounds in seeds.values()
        ]
        curves[strategy] = Curve(
            labels=[n for n, _ in rows[0]], accuracy=[[float(accuracy) for _, accuracy in row] for row in rows]
        )
    return curves


def saving(curve: Curve, baseline: Curve, at: int = -1) -> Saving:
    """Compares a strategy with the baseline's training number `at`, on the same seeds.

    The interval is a bootstrap: seeds are resampled with replacement, the same ones for both.
    """
    random, seeds = np.random.default_rng(0), len(curve.accuracy)
    end = baseline.labels[at]

    def needed(rows: Sequence[int] | None) -> float:
        return reach(curve.labels, curve.mean(rows), float(baseline.mean(rows)[at])) / end

    shares = np.array([needed(random.integers(seeds, size=seeds).tolist()) for _ in range(BOOTSTRAP_SAMPLES)])
    low, high = np.quantile(shares, [0.025, 0.975], method="inverted_cdf")
    share = needed(None)
    above = bool(curve.mean()[0] >= baseline.mean()[at])
    return Saving(labels=share * end, at_most=above, share=share, low=float(low), high=float(high))


def reach(labels: Sequence[int], accuracy: Sequence[float] | NDArray[np.float64], goal: float) -> float:
    """Returns the number of labels at which a curve first reaches the goal, interpolated linearly between trainings.

    A curve that starts above the goal gives its first number of labels; one that never reaches the goal gives inf.
    """
    for k, value in enumerate(accuracy):
        if value >= goal:
            if k == 0:
                return float(labels[0])
            before = accuracy[k - 1]
            return labels[k - 1] + (labels[k] - labels[k - 1]) * float((goal - before) / (value - before))
    return float("inf")


def as_markdown(curves: dict[str, Curve]) -> str:
    """Returns two tables: mean accuracy with its interval, and the labels needed to reach the baseline's accuracy."""
    labels = next(iter(curves.values())).labels
    rows = []
    for strategy, curve in curves.items():
        table = 100 * np.array(curve.accuracy)
        cells = [f"{mean:.1f} ± {half:.1f}" for mean, half in zip(table.mean(0), _half_width(table), strict=True)]
        rows.append([strategy, *(cells if len(table) > 1 else [f"{value:.1f}" for value in table[0]])])
    accuracy = _table([["strategy", *(f"{n} labels" for n in labels)], *rows])
    goal = curves.get(BASELINE)
    if goal is None or len(labels) < 2:
        return accuracy
    later = range(1, len(labels))
    rows = [[name, *(_saving_text(saving(curve, goal, at)) for at in later)] for name, curve in curves.items()]
    return f"{accuracy}\n\n{_table([['strategy', *(f'for random with {labels[at]}' for at in later)], *rows])}"


def as_json(curves: dict[str, Curve]) -> dict[str, Any]:
    """Returns the curves as plain data; savings are null if the goal is not reached or there is no baseline."""
    goal = curves.get(BASELINE)
    plain: dict[str, Any] = {}
    for name, curve in curves.items():
        result = None if goal is None else saving(curve, goal)
        plain[name] = {
            "labels": curve.labels,
            "accuracy": curve.accuracy,
            "needed": None if result is None else _finite(result.labels),
            "share": None if result is None else _finite(result.share),
            "interval": None if result is None else [_finite(result.low), _finite(result.high)],
        }
    return plain


def plot(curves: dict[str, Curve], path: Path, title: str) -> None:
    """Plots the mean curves with their names, and 95 % intervals as bands for `ours` and the baseline."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["font.size"] = 11
    figure = Figure(figsize=(9, 5.6), layout="constrained")
    axes = figure.subplots()
    labels = next(iter(curves.values())).labels
    ends = {name: 100 * curve.mean()[-1] for name, curve in curves.items()}
    span = max(ends.values()) - min(100 * curve.mean()[0] for curve in curves.values())
    heights = _spread_heights(ends, gap=max(span, 1) * 0.05)
    for k, (name, curve) in enumerate(curves.items()):
        _line(axes, name, curve, COLORS[k % len(COLORS)], heights[name])
    if BASELINE in curves:
        axes.plot([labels[0], labels[-1]], [ends[BASELINE]] * 2, color="#999999", lw=0.8, ls=":")
    axes.set(xlabel="labels", ylabel="test accuracy, %", xlim=(labels[0] * 0.9, labels[-1] * 1.25), xticks=labels)
    axes.set_title(title, loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#eeeeee")
    figure.savefig(path, dpi=130)


def _line(axes: Any, name: str, curve: Curve, color: str, height: float) -> None:
    """Draws one curve, with its name at the right at this height."""
    ours = name.startswith("ours")
    color = "#000000" if ours else "#666666" if name == BASELINE else color
    mean, half = 100 * curve.mean(), 100 * _half_width(np.array(curve.accuracy))
    axes.plot(curve.labels, mean, color=color, lw=2.8 if ours else 1.6, marker="o", ms=4, zorder=3 if ours else 2)
    if ours or name == BASELINE:  # more bands would hide each other; the table has all intervals
        axes.fill_between(curve.labels, mean - half, mean + half, color=color, alpha=0.15, lw=0)
    axes.annotate(
        name,
        (curve.labels[-1], mean[-1]),
        (curve.labels[-1] * 1.03, height),
        color=color,
        va="center",
        weight="bold" if ours else "normal",
        arrowprops={"arrowstyle": "-", "color": color, "lw": 0.6, "relpos": (0, 0.5)},
    )


def _half_width(accuracy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns half the width of the 95 % interval (Student's t) of each column's mean; 0 for one seed."""
    from scipy.stats import t

    seeds = len(accuracy)
    if seeds < 2:
        return np.zeros(accuracy.shape[1])
    return np.asarray(accuracy.std(0, ddof=1) / seeds**0.5 * float(t.ppf(0.975, seeds - 1)))


def _spread_heights(ends: dict[str, float], gap: float) -> dict[str, float]:
    """Returns heights for the names of curves with these ends, at least `gap` apart and close to the ends."""
    crowds: list[list[str]] = []
    for name in sorted(ends, key=lambda name: ends[name]):
        crowds.append([name])
        while len(crowds) > 1 and _lowest(crowds[-1], ends, gap) < _highest(crowds[-2], ends, gap) + gap:
            crowds[-2:] = [[*crowds[-2], *crowds[-1]]]
    return {name: _lowest(crowd, ends, gap) + gap * k for crowd in crowds for k, name in enumerate(crowd)}


def _lowest(crowd: list[str], ends: dict[str, float], gap: float) -> float:
    return float(np.mean([ends[name] for name in crowd])) - gap * (len(crowd) - 1) / 2


def _highest(crowd: list[str], ends: dict[str, float], gap: float) -> float:
    return _lowest(crowd, ends, gap) + gap * (len(crowd) - 1)


def _table(rows: list[list[str]]) -> str:
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _saving_text(result: Saving) -> str:
    """Returns labels, their share of the baseline's, and its interval."""
    ends = [f"{end:.2f}" if np.isfinite(end) else "more" for end in (result.low, result.high)]
    if not np.isfinite(result.share):
        return "not reached" if ends[0] == "more" else f"not reached ({ends[0]} to more)"
    return f"{'≤ ' if result.at_most else ''}{result.labels:.0f}: {result.share:.2f} ({ends[0]} to {ends[1]})"


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
