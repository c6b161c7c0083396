"""The figure of TwoMoon: the decision boundaries of each method, for one seed and for all seeds.

The colours are from Okabe and Ito's palette, which is safe for colour blindness; success and failure also differ by
line style.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor, nn

SUCCESS = 0.95  # accuracy above which a run has succeeded

BLUE, VERMILION, BLACK, GREY = "#0072B2", "#D55E00", "#1a1a1a", "#b8b8b8"
TINTS = ("#cfe3f1", "#f7dccb")  # of the two decision regions
LIMITS = ((-1.6, 2.6), (-1.2, 1.7))  # of the axes, in moon radii
TITLES = {
    "supervised": "Supervised",
    "pseudo_label": "Pseudo Labels",
    "uda": "UDA",
    "mpl:none": "MPL,\nfeedback off",
    "mpl:reinforce": "MPL,\none number per batch",
    "mpl:raw": "MPL,\nexact feedback, raw",
    "mpl": "MPL, exact\nfeedback, unit scale",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Moons:
    """The data of R runs."""

    points: "Tensor"  # (R, N, 2)
    truth: "Tensor"  # (R, N) int64, 0 or 1
    labels: "Tensor"  # (R, 6) int64 indices of the labelled points


def draw(
    path: Path,
    data: Moons,
    students: "Mapping[str, nn.Module]",
    accuracies: Mapping[str, np.ndarray],
    first_seed: int = 0,
) -> None:
    """Draws a column for each method: the decision regions of one seed, and below them the boundaries of all seeds.

    Args:
        path: the image file.
        data: see `Moons`.
        students: the students of all seeds, by method.
        accuracies: their accuracies (R,), by method.
        first_seed: seed of the first run.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    x, y = np.meshgrid(np.linspace(*LIMITS[0], 170), np.linspace(*LIMITS[1], 120))
    shown = typical_run(accuracies)
    with pyplot.rc_context({"font.family": "DejaVu Sans", "font.size": 10, "axes.linewidth": 0.6}):
        size = (1.8 * len(students), 3.7)
        figure, axes = pyplot.subplots(2, len(students), figsize=size, squeeze=False, layout="constrained")
        for (name, net), (above, below) in zip(students.items(), axes.T, strict=True):
            margins = _margins(net, len(data.points), x, y)
            _decision(above, x, y, margins[shown], data, shown)
            above.set_xlabel(f"{100 * accuracies[name][shown]:.1f} %", color=BLACK)
            _boundaries(below, x, y, margins, accuracies[name] > SUCCESS, data)
            wins = int((accuracies[name] > SUCCESS).sum())
            above.set_title(TITLES.get(name, name), fontsize=10.5, color=BLACK)
            below.set_xlabel(f"{wins} of {len(margins)} above 95 %", color=BLACK, fontweight="bold")
        axes[0, 0].set_ylabel(f"seed {first_seed + shown}")
        axes[1, 0].set_ylabel(f"{len(margins)} seeds")
        _legend(figure)
        figure.savefig(path, dpi=150)
        pyplot.close(figure)


def typical_run(accuracies: Mapping[str, np.ndarray]) -> int:
    """Returns the first run with the most frequent pattern of success and failure over the methods."""
    patterns = [tuple(row) for row in np.stack([a > SUCCESS for a in accuracies.values()], 1).tolist()]
    return patterns.index(max(patterns, key=patterns.count))


def _margins(net: "nn.Module", runs: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns the difference of the second and the first class's logits, (R, H, W)."""
    import torch

    from gradebook.pipelines.studies.side_by_side import as_rows, by_run

    grid = torch.from_numpy(np.stack([x.ravel(), y.ravel()], 1)).float().expand(runs, -1, -1)
    with torch.no_grad():
        logits = by_run(net(as_rows(grid).contiguous()), runs)
    return (logits[..., 1] - logits[..., 0]).reshape(runs, *x.shape).numpy()


def _decision(axis: Any, x: np.ndarray, y: np.ndarray, margin: np.ndarray, data: Moons, run: int) -> None:
    axis.contourf(x, y, margin, levels=[-np.inf, 0, np.inf], colors=TINTS)
    axis.contour(x, y, margin, levels=[0], colors=BLACK, linewidths=1.4)
    points, truth, labels = data.points[run].numpy(), data.truth[run].numpy(), data.labels[run].numpy()
    axis.scatter(*points.T, s=1.2, c=np.where(truth == 1, VERMILION, BLUE), alpha=0.55, linewidths=0)
    for cluster, colour, mark in ((0, BLUE, "o"), (1, VERMILION, "s")):
        own = labels[truth[labels] == cluster]
        axis.scatter(*points[own].T, s=46, color=colour, marker=mark, edgecolors="white", linewidths=1.1, zorder=3)
    _set_limits(axis)


def _boundaries(
    axis: Any, x: np.ndarray, y: np.ndarray, margins: np.ndarray, succeeded: np.ndarray, data: Moons
) -> None:
    axis.scatter(*data.points[0].numpy().T, s=1.2, color=GREY, linewidths=0)
    for margin, success in sorted(zip(margins, succeeded, strict=True), key=lambda pair: bool(pair[1])):
        style = {"colors": BLUE, "linewidths": 0.9} if success else {"colors": VERMILION, "linewidths": 0.7}
        axis.contour(x, y, margin, levels=[0], alpha=0.75, linestyles="solid" if success else "dotted", **style)
    _set_limits(axis)


def _set_limits(axis: Any) -> None:
    axis.set(xlim=LIMITS[0], ylim=LIMITS[1], xticks=[], yticks=[], aspect="equal")


def _legend(figure: Any) -> None:
    from matplotlib.lines import Line2D

    figure.legend(
        handles=[
            Line2D([], [], color=BLUE, marker="o", linestyle="", label="label, first moon"),
            Line2D([], [], color=VERMILION, marker="s", linestyle="", label="label, second moon"),
            Line2D([], [], color=BLACK, label="boundary"),
            Line2D([], [], color=BLUE, label="of a run above 95 %"),
            Line2D([], [], color=VERMILION, linestyle="dotted", label="of a run that fails"),
        ],
        loc="outside lower center",
        ncols=5,
        frameon=False,
        handletextpad=0.5,
        columnspacing=1.6,
    )
