"""TwoMoon (Pham et al., 2021, section 4.1): does feedback separate the moons where other methods do not?

    python pipelines/two_moon.py --seeds 50 --figure docs/two_moon.png

2,000 points of two clusters, 3 labels each; teacher and student have two hidden layers of 8 sigmoid units, weights
from U(-0.1, 0.1), gradient descent at rate 0.1. A run succeeds when it gets more than 95 % of the points right. The
strong view of a point is the point with Gaussian jitter; the weak view is the point. What the paper leaves open (batch,
steps, jitter) is an argument, the same for all methods. Prints the table; half a minute a seed on one CPU core.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.progress import hush, progress

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mpl.step import Batch, Learners

SUCCESS = 0.95
METHODS: dict[str, dict[str, Any]] = {  # name -> the method's settings
    "supervised": {},
    "pseudo_label": {"threshold": 0.6},
    "uda": {"threshold": 0.0, "temperature": 0.5},
    "mpl:none": {"threshold": 0.0, "temperature": 0.5, "feedback": "none"},
    "mpl": {"threshold": 0.0, "temperature": 0.5},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoMoon:
    """What the paper leaves open."""

    seeds: int = 50
    """Runs of each method; a seed draws points, labels and weights."""
    steps: int = 2000
    """Of each run."""
    batch: int = 128
    """Unlabelled points a step; the labels are all in every step."""
    jitter: float = 0.2
    """Standard deviation of the strong view's noise."""
    noise: float = 0.1
    """Standard deviation of the moons themselves."""
    momentum: float = 0.9
    """Of gradient descent."""
    figure: Path | None = None
    """Where to draw the decision boundaries of the first seed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit status."""
    import torch
    import tyro

    hush()
    torch.set_num_threads(1)
    given = list(sys.argv[1:] if arguments is None else arguments)
    asked = tyro.cli(TwoMoon, args=given, prog="two_moon.py", description=__doc__)
    found: dict[str, list[float]] = {name: [] for name in METHODS}
    drawn: dict[str, tuple[nn.Module, Tensor, Tensor]] = {}
    with progress("TwoMoon", asked.seeds * len(METHODS)) as show:
        for seed in range(asked.seeds):
            for name in METHODS:
                accuracy, net, points, labels = run(asked, name, seed)
                found[name].append(accuracy)
                drawn.setdefault(name, (net, points, labels))
                show(sum(map(len, found.values())))
    print(as_markdown(found, given))
    if asked.figure is not None:
        draw(drawn, asked.figure)
    return 0


def run(asked: TwoMoon, name: str, seed: int) -> tuple[float, "nn.Module", "Tensor", "Tensor"]:
    """Returns the student's accuracy over all points, the student, the points (N, 2) and the labels' positions (6,)."""
    import torch

    from mpl.methods import METHODS as KNOWN
    from mpl.step import Clock, Solo

    points, truth, labels = moons(asked, seed)
    torch.manual_seed(seed)
    method = KNOWN[name.partition(":")[0]]
    settings = method.settings(**METHODS[name])
    learners = _learners(asked, teacher=method.teacher)
    unlabelled = np.setdiff1d(np.arange(len(points)), labels.numpy())
    random = np.random.default_rng(seed)
    for at in range(asked.steps):
        chosen = torch.from_numpy(random.choice(unlabelled, asked.batch, replace=False))
        batch = _batch(asked, points, truth, labels, chosen)
        method.step(learners, batch, Solo(), settings, Clock(at, asked.steps))
    with torch.no_grad():
        right = (learners.student.net(points).argmax(-1) == truth).float().mean()
    return float(right), learners.student.net, points, labels


def moons(asked: TwoMoon, seed: int) -> tuple["Tensor", "Tensor", "Tensor"]:
    """Returns 2,000 points (N, 2) scaled to unit variance, their clusters (N,), and the positions of 6 labels (6,)."""
    import torch
    from sklearn.datasets import make_moons

    points, truth = make_moons(2000, noise=asked.noise, random_state=seed)
    points = (points - points.mean(0)) / points.std(0)
    random = np.random.default_rng(seed)
    labels = np.concatenate([random.choice(np.flatnonzero(truth == c), 3, replace=False) for c in (0, 1)])
    return torch.from_numpy(points).float(), torch.from_numpy(truth).long(), torch.from_numpy(labels)


def as_markdown(found: dict[str, list[float]], given: Sequence[str]) -> str:
    """Returns the table: successes, and the mean accuracy with the standard error of the mean."""
    rows = "\n".join(
        f"| {name} | {sum(a > SUCCESS for a in values)} of {len(values)} "
        f"| {100 * np.mean(values):.1f} ± {100 * np.std(values) / math.sqrt(len(values)):.1f} |"
        for name, values in found.items()
    )
    return f"""
| method | runs above 95 % | mean accuracy, % |
| --- | --- | --- |
{rows}

`python pipelines/two_moon.py {" ".join(given)}`, {date.today()}
"""


def draw(drawn: dict[str, tuple["nn.Module", "Tensor", "Tensor"]], path: Path) -> None:
    """Draws the decision boundary of each student over the points, the labels marked, side by side."""
    import matplotlib
    import torch

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(drawn), figsize=(3.2 * len(drawn), 3), sharey=True)
    x, y = np.meshgrid(np.linspace(-2.5, 2.5, 200), np.linspace(-2.5, 2.5, 200))
    grid = torch.from_numpy(np.stack([x.ravel(), y.ravel()], 1)).float()
    for axis, (name, (net, points, labels)) in zip(axes, drawn.items(), strict=True):
        with torch.no_grad():
            share = net(grid).softmax(-1)[:, 1].reshape(x.shape).numpy()
        axis.contourf(x, y, share, levels=20, cmap="PuOr", alpha=0.6)
        axis.scatter(*points.T.numpy(), s=1, color="0.4")
        axis.scatter(*points[labels].T.numpy(), s=50, color="black", marker="*")
        axis.set_title(name)
        axis.set_xticks([])
        axis.set_yticks([])
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def _learners(asked: TwoMoon, *, teacher: bool) -> "Learners":
    import torch
    from torch import nn

    from mpl.step import Learner, Learners

    def learner() -> Learner:
        net = nn.Sequential(nn.Linear(2, 8), nn.Sigmoid(), nn.Linear(8, 8), nn.Sigmoid(), nn.Linear(8, 2))
        for weight in net.parameters():
            nn.init.uniform_(weight, -0.1, 0.1)
        optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=asked.momentum)
        return Learner(net=net, optimizer=optimizer)

    student = learner()
    return Learners(student=student, teacher=learner() if teacher else None)


def _batch(asked: TwoMoon, points: "Tensor", truth: "Tensor", labels: "Tensor", chosen: "Tensor") -> "Batch":
    import torch

    from mpl.step import Batch

    return Batch(
        x_l=points[labels],
        y_l=truth[labels],
        x_uw=points[chosen],
        x_us=points[chosen] + asked.jitter * torch.randn(len(chosen), 2),
        id_u=chosen,
    )


if __name__ == "__main__":
    sys.exit(main())
