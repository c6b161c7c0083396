"""TwoMoon (Pham et al., 2021, section 3.1): does feedback separate the two moons more often than other methods?

    python pipelines/studies/two_moon.py --figure docs/two_moon.png

2,000 points of two clusters with 3 labels each; teacher and student have two hidden layers of 8 sigmoid units, weights
from U(-0.1, 0.1), and gradient descent at rate 0.1. A run succeeds if more than 95 % of the points are correct.
Settings that the paper does not state are options, the same for all methods. A seed gives all methods the same points,
labels, initial weights and batches. The weak view of a point is the point itself, the strong view adds Gaussian jitter.
All seeds of a method are trained at once, as one network.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gradebook.pipelines.process.progress import progress, say
from gradebook.pipelines.studies.command_line import footer, read_options
from gradebook.pipelines.studies.two_moon_figure import SUCCESS, Moons, draw

if TYPE_CHECKING:
    from torch import nn

    from gradebook.mpl.step import Batch, Learners


POINTS = 2000
SIZES = (2, 8, 8, 2)  # of the layers
BOUND = 0.1  # of the initial weights
RATE = 0.1
BLOCK_STEPS = 100  # whose batches are drawn at once


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoMoon:
    """Options of the study."""

    methods: tuple[str, ...] = ("supervised", "pseudo_label", "uda", "mpl:none", "mpl:reinforce", "mpl:raw", "mpl")
    """Methods; mpl:none is Meta Pseudo Labels without feedback, mpl:reinforce has the paper's one number per batch,
    mpl:raw exact feedback, mpl exact feedback scaled to a root mean square of 1."""
    seeds: int = 50
    """Number of seeds; one run of each method for each."""
    first_seed: int = 0
    """The first seed; the others follow."""
    steps: int = 15_000
    """Steps of each run."""
    batch: int = 64
    """Unlabelled points per step; all labelled points are in every step."""
    noise: float = 0.1
    """Standard deviation of the moons' noise; their radius is 1."""
    jitter: float = 0.2
    """Standard deviation of the strong view's noise; with 0 it is the weak view."""
    momentum: float = 0.9
    """Momentum of gradient descent."""
    uda_weight: float = 4.0
    """Weight of the UDA loss, for the student in uda and for the teacher in mpl."""
    temperature: float = 0.5
    """Temperature of UDA's sharpening."""
    threshold: float = 0.0
    """Probability from which UDA's targets and pseudo-labels count."""
    feedback_weight: float = 1.0
    """Weight of the feedback loss."""
    figure: Path | None = None
    """File for the picture of the decision boundaries."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit status."""
    import torch

    torch.set_num_threads(1)
    options, given = read_options(TwoMoon, "two_moon.py", __doc__, arguments)
    data = moons(options)
    students: dict[str, nn.Module] = {}
    accuracies: dict[str, np.ndarray] = {}
    teachers: dict[str, np.ndarray] = {}
    for name in options.methods:
        learners = train(options, name, data)
        students[name] = learners.student.net
        accuracies[name] = accuracy(students[name], data)
        if learners.teacher is not None:
            teachers[name] = accuracy(learners.teacher.net, data)
        say(f"{name}: {(accuracies[name] > SUCCESS).sum()} of {options.seeds}")
    print(as_markdown(accuracies, teachers, given))
    if options.figure is not None:
        draw(options.figure, data, students, accuracies, options.first_seed)
    return 0


def moons(options: TwoMoon) -> Moons:
    """Returns 1,000 points of each cluster for every seed, and the indices of 3 labelled points of each cluster."""
    import torch
    from sklearn.datasets import make_moons

    samples = []
    for seed in _seeds(options):
        points, truth = make_moons(POINTS, noise=options.noise, random_state=seed)
        random = np.random.default_rng(seed)
        labels = np.concatenate([random.choice(np.flatnonzero(truth == c), 3, replace=False) for c in (0, 1)])
        samples.append((points.astype(np.float32), truth.astype(np.int64), labels))
    stacked = [torch.from_numpy(np.stack(part)) for part in zip(*samples, strict=True)]
    return Moons(points=stacked[0], truth=stacked[1], labels=stacked[2])


def train(options: TwoMoon, name: str, data: Moons) -> "Learners":
    """Returns the trained students of all seeds, and their teachers; `name` is a method or mpl:FEEDBACK."""
    import torch

    from gradebook.mpl.methods import METHODS
    from gradebook.mpl.step import SingleProcess, StepIndex
    from gradebook.pipelines.studies import side_by_side

    torch.manual_seed(options.first_seed)  # for the labels that reinforce samples
    method = METHODS[name.partition(":")[0]]
    settings = method.settings(**settings_of(options, name))
    own_step = name.startswith("mpl") and settings.feedback != "none"
    learners = learners_of(options, teacher=method.teacher)
    with progress(name, options.steps) as show:
        for at, batch in enumerate(batches(options, data)):
            if own_step:
                side_by_side.step(learners, batch, SingleProcess(), settings)
            else:
                method.step(learners, batch, SingleProcess(), settings, StepIndex(at, options.steps))
            show(at + 1)
    return learners


def settings_of(options: TwoMoon, name: str) -> dict[str, Any]:
    """Returns the settings of the method `name`."""
    method, _, feedback = name.partition(":")
    uda = {"uda_weight": options.uda_weight, "temperature": options.temperature, "threshold": options.threshold}
    exact = {"feedback": "exact", "normalise": feedback != "raw"}
    settings: dict[str, dict[str, Any]] = {
        "supervised": {},
        "pseudo_label": {"threshold": options.threshold},
        "uda": uda,
        "mpl": {
            **uda,
            "feedback_weight": options.feedback_weight,
            **(exact if feedback in {"", "raw"} else {"feedback": feedback}),
        },
    }
    return settings[method]


def learners_of(options: TwoMoon, *, teacher: bool) -> "Learners":
    """Returns the untrained students, and teachers if there are any. Each seed draws the student's weights first."""
    import torch

    from gradebook.mpl.step import Learners
    from gradebook.pipelines.studies.side_by_side import SideBySide, learner

    random = [torch.Generator().manual_seed(seed) for seed in _seeds(options)]
    both = [learner(SideBySide(SIZES, random, bound=BOUND), RATE, options.momentum) for _ in range(1 + teacher)]
    return Learners(student=both[0], teacher=both[1] if teacher else None)


def batches(options: TwoMoon, data: Moons) -> Iterator["Batch"]:
    """Yields a batch for each step, with the rows of all seeds; each seed has its own generator."""
    import torch

    from gradebook.mpl.step import Batch
    from gradebook.pipelines.studies.side_by_side import as_rows

    random = [torch.Generator().manual_seed(10**6 + seed) for seed in _seeds(options)]  # other seeds than the weights'
    run = torch.arange(options.seeds)[:, None]
    x_l, y_l = as_rows(data.points[run, data.labels]), as_rows(data.truth[run, data.labels])
    unlabelled = torch.stack([torch.tensor(np.setdiff1d(np.arange(POINTS), taken)) for taken in data.labels.numpy()])
    for start in range(0, options.steps, BLOCK_STEPS):
        size = (BLOCK_STEPS, options.batch)
        chosen = torch.stack([torch.randint(unlabelled.shape[1], size, generator=g) for g in random], 1)
        jitter = torch.stack([torch.randn(*size, 2, generator=g) for g in random], 1)
        for at in range(min(BLOCK_STEPS, options.steps - start)):
            taken = unlabelled[run, chosen[at]]
            x_u = as_rows(data.points[run, taken])
            x_us = x_u + options.jitter * as_rows(jitter[at])
            yield Batch(x_l=x_l, y_l=y_l, x_uw=x_u, x_us=x_us, id_u=as_rows(taken))


def accuracy(net: "nn.Module", data: Moons) -> "np.ndarray":
    """Returns the accuracy (R,) of each run on all of its points."""
    import torch

    from gradebook.pipelines.studies.side_by_side import as_rows, by_run

    with torch.no_grad():
        predicted = by_run(net(as_rows(data.points)).argmax(-1), len(data.points))
    return (predicted == data.truth).double().mean(1).numpy()


def share(successes: int, runs: int) -> str:
    """Returns a success rate in % with its 95 % interval (Wilson's)."""
    from scipy.stats import binomtest

    interval = binomtest(successes, runs).proportion_ci(method="wilson")
    return f"{100 * successes / runs:.0f} ({100 * interval.low:.0f} to {100 * interval.high:.0f})"


def compare_seeds(off: "np.ndarray", on: "np.ndarray") -> str:
    """Returns the numbers of seeds that succeed only with feedback and only without it, given accuracies (R,)."""
    from scipy.stats import binomtest

    won, lost = int(((on > SUCCESS) & (off <= SUCCESS)).sum()), int(((off > SUCCESS) & (on <= SUCCESS)).sum())
    p = binomtest(won, won + lost).pvalue if won + lost else 1.0
    return f"seeds that succeed only with it {won}, only without it {lost} (exact sign test, p = {p:.2g})"


def as_markdown(accuracies: "dict[str, np.ndarray]", teachers: "dict[str, np.ndarray]", given: Sequence[str]) -> str:
    """Returns the table of accuracies (R,) by method, and a comparison of each kind of feedback with none by seed."""
    wins = {name: int((a > SUCCESS).sum()) for name, a in accuracies.items()}
    teacher_wins = {name: f"{(a > SUCCESS).sum()} of {len(a)}" for name, a in teachers.items()}
    rows = "\n".join(
        f"| {name} | {wins[name]} of {len(a)} | {share(wins[name], len(a))} | {100 * a.mean():.1f} "
        f"| {teacher_wins.get(name, '')} |"
        for name, a in accuracies.items()
    )
    pairs = "\n".join(
        f"- {name} against mpl:none: {compare_seeds(accuracies['mpl:none'], a)}"
        for name, a in accuracies.items()
        if name.startswith("mpl") and name != "mpl:none" and "mpl:none" in accuracies
    )
    return f"""
| method | runs above 95 % | share, % (95 % interval) | mean accuracy, % | teachers above 95 % |
| --- | --- | --- | --- | --- |
{rows}

{pairs}

{footer("pipelines/studies/two_moon.py", given)}
"""


def _seeds(options: TwoMoon) -> range:
    return range(options.first_seed, options.first_seed + options.seeds)


if __name__ == "__main__":
    sys.exit(main())
