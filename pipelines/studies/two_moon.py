"""TwoMoon (Pham et al., 2021, section 3.1): does feedback separate the moons where other methods do not?

    python pipelines/studies/two_moon.py --figure docs/two_moon.png

2,000 points of two clusters, 3 labels each; teacher and student have two hidden layers of 8 sigmoid units, weights
from U(-0.1, 0.1), gradient descent at rate 0.1. A run succeeds when it gets more than 95 % of the points right. What
the paper leaves open is an argument, the same for all methods, and a seed draws the same points, labels, first weights
and batches for all of them. The weak view of a point is the point, the strong view the point with Gaussian jitter. All
seeds of a method are trained side by side.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gradebook.pipelines.process.progress import progress, say, silence_libraries
from gradebook.pipelines.studies.two_moon_figure import SUCCESS, Moons, draw

if TYPE_CHECKING:
    from torch import nn

    from gradebook.mpl.step import Batch, Learners


POINTS = 2000
SIZES = (2, 8, 8, 2)  # of the layers
BOUND = 0.1  # of the first weights
RATE = 0.1
BLOCK = 100  # steps whose batches are drawn at once


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoMoon:
    """What the paper leaves open."""

    methods: tuple[str, ...] = ("supervised", "pseudo_label", "uda", "mpl:none", "mpl:reinforce", "mpl:raw", "mpl")
    """Methods; mpl:none is Meta Pseudo Labels with the feedback off, mpl:reinforce has the paper's one number a batch,
    mpl:raw exact feedback as it is, mpl exact feedback of unit scale."""
    seeds: int = 50
    """Runs of each method."""
    first_seed: int = 0
    """Seeds count up from here."""
    steps: int = 15_000
    """Of each run."""
    batch: int = 64
    """Unlabelled points a step; the labels are all in every step."""
    noise: float = 0.1
    """Standard deviation of the moons themselves, whose radius is 1."""
    jitter: float = 0.2
    """Standard deviation of the strong view's noise; 0 makes it the weak view."""
    momentum: float = 0.9
    """Of gradient descent."""
    uda_weight: float = 4.0
    """Weight of UDA's loss, for the student in uda and for the teacher in mpl."""
    temperature: float = 0.5
    """Of UDA's sharpening."""
    threshold: float = 0.0
    """Probability from which UDA's labels and pseudo-labels count."""
    feedback_weight: float = 1.0
    """Weight of the feedback's loss."""
    figure: Path | None = None
    """Where to draw the decision boundaries."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit status."""
    import torch
    import tyro

    silence_libraries()
    torch.set_num_threads(1)
    given = list(sys.argv[1:] if arguments is None else arguments)
    asked = tyro.cli(TwoMoon, args=given, prog="two_moon.py", description=__doc__)
    data = moons(asked)
    students: dict[str, nn.Module] = {}
    found: dict[str, np.ndarray] = {}
    teachers: dict[str, np.ndarray] = {}
    for name in asked.methods:
        learners = train(asked, name, data)
        students[name] = learners.student.net
        found[name] = accuracy(students[name], data)
        if learners.teacher is not None:
            teachers[name] = accuracy(learners.teacher.net, data)
        say(f"{name}: {(found[name] > SUCCESS).sum()} of {asked.seeds}")
    print(as_markdown(found, teachers, given))
    if asked.figure is not None:
        draw(asked.figure, data, students, found, asked.first_seed)
    return 0


def moons(asked: TwoMoon) -> Moons:
    """Returns 1,000 points of each cluster for every seed, and the positions of 3 labels of each."""
    import torch
    from sklearn.datasets import make_moons

    drawn = []
    for seed in _seeds(asked):
        points, truth = make_moons(POINTS, noise=asked.noise, random_state=seed)
        random = np.random.default_rng(seed)
        labels = np.concatenate([random.choice(np.flatnonzero(truth == c), 3, replace=False) for c in (0, 1)])
        drawn.append((points.astype(np.float32), truth.astype(np.int64), labels))
    stacked = [torch.from_numpy(np.stack(part)) for part in zip(*drawn, strict=True)]
    return Moons(points=stacked[0], truth=stacked[1], labels=stacked[2])


def train(asked: TwoMoon, name: str, data: Moons) -> "Learners":
    """Returns the students of all seeds, and their teachers; `name` is a method or mpl:FEEDBACK."""
    import torch

    from gradebook.mpl.methods import METHODS
    from gradebook.mpl.step import SingleProcess, StepIndex
    from gradebook.pipelines.studies import side_by_side

    torch.manual_seed(asked.first_seed)  # what reinforce draws
    method = METHODS[name.partition(":")[0]]
    settings = method.settings(**settings_of(asked, name))
    own = name.startswith("mpl") and settings.feedback != "none"
    learners = learners_of(asked, teacher=method.teacher)
    with progress(name, asked.steps) as show:
        for at, batch in enumerate(batches(asked, data)):
            if own:
                side_by_side.step(learners, batch, SingleProcess(), settings)
            else:
                method.step(learners, batch, SingleProcess(), settings, StepIndex(at, asked.steps))
            show(at + 1)
    return learners


def settings_of(asked: TwoMoon, name: str) -> dict[str, Any]:
    """Returns what the method `name` is told."""
    method, _, feedback = name.partition(":")
    uda = {"uda_weight": asked.uda_weight, "temperature": asked.temperature, "threshold": asked.threshold}
    exact = {"feedback": "exact", "normalise": feedback != "raw"}
    told: dict[str, dict[str, Any]] = {
        "supervised": {},
        "pseudo_label": {"threshold": asked.threshold},
        "uda": uda,
        "mpl": {
            **uda,
            "feedback_weight": asked.feedback_weight,
            **(exact if feedback in {"", "raw"} else {"feedback": feedback}),
        },
    }
    return told[method]


def learners_of(asked: TwoMoon, *, teacher: bool) -> "Learners":
    """Returns students, and teachers if asked for, as each seed draws them: students first."""
    import torch

    from gradebook.mpl.step import Learners
    from gradebook.pipelines.studies.side_by_side import SideBySide, learner

    random = [torch.Generator().manual_seed(seed) for seed in _seeds(asked)]
    both = [learner(SideBySide(SIZES, random, bound=BOUND), RATE, asked.momentum) for _ in range(1 + teacher)]
    return Learners(student=both[0], teacher=both[1] if teacher else None)


def batches(asked: TwoMoon, data: Moons) -> Iterator["Batch"]:
    """Yields a batch for each step: rows of all seeds, each seed's drawn by its own generator."""
    import torch

    from gradebook.mpl.step import Batch
    from gradebook.pipelines.studies.side_by_side import as_rows

    random = [torch.Generator().manual_seed(10**6 + seed) for seed in _seeds(asked)]  # not those of the weights
    run = torch.arange(asked.seeds)[:, None]
    x_l, y_l = as_rows(data.points[run, data.labels]), as_rows(data.truth[run, data.labels])
    unlabelled = torch.stack([torch.tensor(np.setdiff1d(np.arange(POINTS), taken)) for taken in data.labels.numpy()])
    for start in range(0, asked.steps, BLOCK):
        chosen = torch.stack([torch.randint(unlabelled.shape[1], (BLOCK, asked.batch), generator=g) for g in random], 1)
        jitter = torch.stack([torch.randn(BLOCK, asked.batch, 2, generator=g) for g in random], 1)
        for at in range(min(BLOCK, asked.steps - start)):
            taken = unlabelled[run, chosen[at]]
            x_u = as_rows(data.points[run, taken])
            x_us = x_u + asked.jitter * as_rows(jitter[at])
            yield Batch(x_l=x_l, y_l=y_l, x_uw=x_u, x_us=x_us, id_u=as_rows(taken))


def accuracy(net: "nn.Module", data: Moons) -> "np.ndarray":
    """Returns each run's share (R,) of all its points that its network gets right."""
    import torch

    from gradebook.pipelines.studies.side_by_side import as_rows, by_run

    with torch.no_grad():
        said = by_run(net(as_rows(data.points)).argmax(-1), len(data.points))
    return (said == data.truth).double().mean(1).numpy()


def share(successes: int, runs: int) -> str:
    """Returns a share in % with its 95 % interval (Wilson's)."""
    from scipy.stats import binomtest

    interval = binomtest(successes, runs).proportion_ci(method="wilson")
    return f"{100 * successes / runs:.0f} ({100 * interval.low:.0f} to {100 * interval.high:.0f})"


def changed(off: "np.ndarray", on: "np.ndarray") -> str:
    """Returns on how many seeds accuracies (R,) with feedback on succeed where those with it off fail, and back."""
    from scipy.stats import binomtest

    won, lost = int(((on > SUCCESS) & (off <= SUCCESS)).sum()), int(((off > SUCCESS) & (on <= SUCCESS)).sum())
    p = binomtest(won, won + lost).pvalue if won + lost else 1.0
    return f"seeds that succeed only with it {won}, only without it {lost} (exact sign test, p = {p:.2g})"


def as_markdown(found: "dict[str, np.ndarray]", teachers: "dict[str, np.ndarray]", given: Sequence[str]) -> str:
    """Returns the table of accuracies (R,) by method, and below it what each kind of feedback changed seed by seed."""
    wins = {name: int((a > SUCCESS).sum()) for name, a in found.items()}
    taught = {name: f"{(a > SUCCESS).sum()} of {len(a)}" for name, a in teachers.items()}
    rows = "\n".join(
        f"| {name} | {wins[name]} of {len(a)} | {share(wins[name], len(a))} | {100 * a.mean():.1f} "
        f"| {taught.get(name, '')} |"
        for name, a in found.items()
    )
    pairs = "\n".join(
        f"- {name} against mpl:none: {changed(found['mpl:none'], a)}"
        for name, a in found.items()
        if name.startswith("mpl") and name != "mpl:none" and "mpl:none" in found
    )
    return f"""
| method | runs above 95 % | share, % (95 % interval) | mean accuracy, % | teachers above 95 % |
| --- | --- | --- | --- | --- |
{rows}

{pairs}

`python pipelines/studies/two_moon.py {" ".join(given)}`, {date.today()}
"""


def _seeds(asked: TwoMoon) -> range:
    return range(asked.first_seed, asked.first_seed + asked.seeds)


if __name__ == "__main__":
    sys.exit(main())
