"""Evaluates a run's student: on the test split, or on training images whose labels the run has not read."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradebook.pipelines.inference.baseline import logistic_baseline
from gradebook.pipelines.runs import Run
from gradebook.pipelines.training.config import ConfigError
from gradebook.pipelines.training.dataset import without_changed
from gradebook.pipelines.training.presets import config_from_json
from gradebook.pipelines.training.student import Probabilities, load_run_student, predict_samples
from gradebook.storage.events import replay
from gradebook.storage.project import Project
from gradebook.storage.run_classes import RunClasses, run_classes
from gradebook.storage.samples import Sample, Split

if TYPE_CHECKING:
    from gradebook.storage.store import Store


Interval = tuple[float, float]  # with 95 % confidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """How often a classifier is right."""

    accuracy: float
    accuracy_interval: Interval
    balanced_accuracy: float  # the mean over classes of the accuracy in each
    balanced_accuracy_interval: Interval
    ece: float  # expected calibration error, 15 bins


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation(Scores):
    """The result of `gradebook evaluate`. Images of classes that the run does not know count as wrong everywhere."""

    run: str
    on: str  # "test split", or "training images whose labels the run never saw"
    n: int
    per_class: dict[str, dict[str, float | int | None]]  # class -> n, accuracy (None where n is 0)
    confusion: list[list[int]]  # rows the label, columns the student's class, in order of classes
    classes: list[str]
    unknown_classes: dict[str, int]  # class that the run does not know -> images of it
    baseline: Scores | None  # logistic regression on the same vectors and labels; None where it was not computed
    changed_classes: str  # the run's classes, if some have been renamed or removed since; else empty

    def as_json(self) -> dict[str, Any]:
        """Returns it as plain data."""
        return asdict(self)


def evaluate(store: "Store", run: Run, *, split: Split = Split.TEST, baseline: bool = False) -> Evaluation:
    """Evaluates the finished student of a run on the labels of a split, never on labels that it was trained on.

    Args:
        store: the project.
        run: of the project.
        split: of the training split, the labels count that were given since the run read its own.
        baseline: whether to score logistic regression beside it, where the run used cached views.

    Raises:
        ConfigError: the run has not finished, or no image of the split has a label.
    """
    config = config_from_json(run.config())
    class_map = run_classes(run.config(), store.project.history)
    samples, labels, unknown = _labelled(store, run, split, class_map.names)
    probabilities = class_map.merge(predict_samples(load_run_student(run), config, store, samples))
    on = "test split" if split is Split.TEST else "training images whose labels the run never saw"
    regression = logistic_baseline(store, run, samples) if baseline else None
    scored = _evaluation(run, on, probabilities, labels, unknown, class_map)
    return scored if regression is None else replace(scored, baseline=_scores(class_map.merge(regression), labels))


def evaluate_beside_data(project: Project, run: Run) -> Evaluation:
    """Evaluates the finished student of a run on a plain data set, on the test split of that data set.

    Raises:
        ConfigError: the run has not finished, or the test images are not there.
    """
    from gradebook.mpl.devices import best_device
    from gradebook.pipelines.training.data_modules import DATA
    from gradebook.pipelines.training.evaluation import probabilities
    from gradebook.pipelines.training.image_loader import ImageLoader
    from gradebook.pipelines.training.plain_datasets import open_dataset

    config = config_from_json(run.config())
    data = open_dataset(config.data, project.root / DATA, Split.TEST, size=config.size)
    if list(data.classes) != run.config()["classes"]:
        raise ConfigError(f"the test images have other classes than {run.name}: correct their folders")
    device = best_device()
    source = ImageLoader(data.images, workers=config.workers, device=device)
    predicted = probabilities(load_run_student(run).to(device), source, np.arange(len(data.truth)))
    class_map = run_classes(run.config(), project.history)
    return _evaluation(run, "test split", predicted.double().numpy(), data.truth, [], class_map)


def is_beside_data(run: Run) -> bool:
    """Returns whether a run trained on a plain data set, without a catalogue."""
    return bool(run.config().get("data", {}).get("kind", "project") != "project")


def _evaluation(
    run: Run,
    on: str,
    probabilities: Probabilities,
    labels: NDArray[np.int64],
    unknown: list[str],
    class_map: RunClasses,
) -> Evaluation:
    """Scores probabilities (N, K); a label of K or more is a class of `unknown`, and so always wrong."""
    from gradebook.mpl import metrics

    classes = list(class_map.names)
    known = labels < len(classes)
    table = metrics.confusion(probabilities[known], labels[known])
    return Evaluation(
        run=run.name,
        on=on,
        n=len(labels),
        per_class={
            name: {"n": int(row.sum()), "accuracy": float(row[k] / row.sum()) if row.sum() else None}
            for k, (name, row) in enumerate(zip(classes, table, strict=True))
        },
        confusion=table.tolist(),
        classes=classes,
        unknown_classes={name: int((labels == len(classes) + k).sum()) for k, name in enumerate(unknown)},
        baseline=None,
        changed_classes=class_map.describe(),
        **asdict(_scores(probabilities, labels)),
    )


def _scores(probabilities: Probabilities, labels: NDArray[np.int64]) -> Scores:
    from gradebook.mpl import metrics

    accuracy = metrics.accuracy(probabilities, labels)
    return Scores(
        accuracy=accuracy,
        accuracy_interval=metrics.accuracy_interval(accuracy, len(labels)),
        balanced_accuracy=metrics.balanced_accuracy(probabilities, labels),
        balanced_accuracy_interval=metrics.balanced_accuracy_interval(probabilities, labels),
        ece=metrics.calibration_error(probabilities, labels),
    )


def _labelled(
    store: "Store", run: Run, split: Split, classes: Sequence[str]
) -> tuple[list[Sample], NDArray[np.int64], list[str]]:
    """Returns the split's samples with a label that the run has not read, and the labels.

    Returns:
        Samples, labels, and the labels' classes that the run does not know, which follow its own in number.
    """
    given, read = replay(store.log.read()), run.labels()
    samples = [s for s in store.catalog.samples(split) if s.sample_id in given and s.sample_id not in read]
    samples = without_changed(store, samples, kind="labelled")
    if not samples:
        raise ConfigError(
            f"no image of the {split} split has a label to compare with: import some with: gradebook import "
            f"{store.project.root} IMAGES --split test --labels folders"
        )
    unknown = sorted({given[s.sample_id] for s in samples} - set(classes))
    number = {name: k for k, name in enumerate([*classes, *unknown])}
    return samples, np.array([number[given[s.sample_id]] for s in samples], np.int64), unknown
