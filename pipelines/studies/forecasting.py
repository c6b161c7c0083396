"""Back-tests `gradebook forecast`: how often its interval holds the accuracy with more labels, and how far it is off.

    python pipelines/studies/forecasting.py PROJECT ... --labels 60 120 240 --seeds 0 1 2 3

The images of a project lie in folders named by class. Random labels are drawn for each seed. The forecast sees the
first ones; the accuracy that it should have forecast is that of a classifier fitted to more of them, on all images
beyond.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from tyro.conf import Positional, arg

from gradebook.pipelines.inference import forecast, learning_points
from gradebook.pipelines.inference.learning_points import Floats, Indices
from gradebook.pipelines.process.errors import exit_with_message
from gradebook.pipelines.studies.command_line import footer, read_options
from gradebook.storage.samples import Split
from gradebook.storage.store import open_store

HEADER = """| set | labels | more | forecasts | accuracy | in interval | width | off by | gain | forecast gain | stop |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecasting:
    """Options of the study."""

    projects: Annotated[Positional[tuple[Path, ...]], arg(help="projects whose images lie in folders named by class")]
    labels: tuple[int, ...] = (60, 120, 240)
    """Numbers of labels that the forecast sees."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6, 7)
    """Random seeds of the labels."""
    classes: tuple[str, ...] = ()
    """Classes whose images are used; none for all."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One forecast and what came of it."""

    forecast: float
    interval: tuple[float, float]
    gain: float
    stop: bool
    before: float  # accuracy with the labels that the forecast saw
    after: float  # accuracy with more


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit status."""
    options, given = read_options(Forecasting, "forecasting.py", __doc__, arguments)
    with exit_with_message():
        print(HEADER)
        for project in options.projects:
            x, y, names = _vectors(project, options.classes)
            for labels in options.labels:
                trials = [_trials(x, y, names, labels, seed) for seed in options.seeds]
                for more, column in zip(("+20", "x1.5", "x2"), zip(*trials, strict=True), strict=True):
                    print(_row(project.parent.name, labels, more, column), flush=True)
        print(f"\n{footer('pipelines/studies/forecasting.py', given)}")
    return 0


def _trials(x: Floats, y: Indices, names: list[str], labels: int, seed: int) -> list[Trial]:
    """Returns the forecasts for 20 more labels, half as many more and twice as many."""
    order = np.random.default_rng([seed, labels]).permutation(len(y))
    seen, unseen = order[:labels], order[2 * labels :]

    def accuracy(number: int) -> float:
        first = order[:number]
        return float((learning_points.fit_and_predict(x[first], y[first], x[unseen]) == y[unseen]).mean())

    points = learning_points.cross_validated(x[seen], y[seen], seed=seed, progress=lambda *_: None)
    before, trials, of_class = accuracy(labels), [], np.bincount(y[seen], minlength=len(names))
    few = [name for name, number in zip(names, of_class, strict=True) if number < forecast.MIN_OF_CLASS]
    for more in (20, labels // 2, labels):
        result = forecast.from_points(points, labels, more, names, scored_on="cross-validation", few=few)
        step = next(row for row in result.expected if row.labels == labels + more)
        trials.append(Trial(step.accuracy, step.interval, step.gain, result.stop, before, accuracy(labels + more)))
    return trials


def _row(name: str, labels: int, more: str, trials: Sequence[Trial]) -> str:
    inside = np.mean([t.interval[0] <= t.after <= t.interval[1] for t in trials])
    off = np.mean([abs(t.forecast - t.after) for t in trials])
    gain, forecast_gain = np.mean([t.after - t.before for t in trials]), np.mean([t.gain for t in trials])
    width = np.mean([t.interval[1] - t.interval[0] for t in trials])
    return (
        f"| {name} | {labels} | {more} | {len(trials)} | {np.mean([t.after for t in trials]):.1%} | {inside:.0%} | "
        f"{100 * width:.1f} | {100 * off:.1f} | {100 * gain:.1f} | {100 * forecast_gain:.1f} | "
        f"{np.mean([t.stop for t in trials]):.0%} |"
    )


def _vectors(project: Path, classes: Sequence[str] = ()) -> tuple[Floats, Indices, list[str]]:
    """Returns the standardised embeddings, classes and class names of a project's training images."""
    store = open_store(project)
    every = store.catalog.samples(Split.TRAIN)
    samples = [s for s in every if not classes or Path(s.filepath).parent.name in classes]
    labels = [Path(sample.filepath).parent.name for sample in samples]
    names = sorted(set(labels))
    space = store.vectors.spaces()[-1]
    x = store.vectors.read(space.backbone, [s.sample_id for s in samples], 1)[:, 0].astype(np.float32)
    x = (x - x.mean(0)) / np.maximum(x.std(0), 1e-6)
    return x, np.array([names.index(label) for label in labels], np.int64), names


if __name__ == "__main__":
    sys.exit(main())
