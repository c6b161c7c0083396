"""How good a run's student is: on the test split, or on training images whose labels the run never saw."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradebook.pipelines.runs import Run
from gradebook.pipelines.training.config import ConfigError
from gradebook.pipelines.training.presets import config_from_json
from gradebook.pipelines.training.student import Probabilities, load_run_student, predict_samples
from gradebook.storage.events import replay
from gradebook.storage.project import Project
from gradebook.storage.samples import Sample, Split

if TYPE_CHECKING:
    from gradebook.storage.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What `gradebook evaluate` answers."""

    run: str
    on: str  # "test split", or "training images whose labels the run never saw"
    accuracy: float
    n: int
    ece: float  # expected calibration error, 15 bins
    per_class: dict[str, dict[str, float | int | None]]  # class -> n, accuracy (None where n is 0)
    confusion: list[list[int]]  # rows the label, columns what the student said, in order of classes
    classes: list[str]

    def as_json(self) -> dict[str, Any]:
        """Returns it as plain data."""
        return asdict(self)


def evaluate(store: "Store", run: Run, *, split: Split = Split.TEST) -> Evaluation:
    """Compares the finished student of a run with the labels of the test split.

    With `split` train: with labels of training images given since the run read its own; never with labels that
    it was trained on.

    Raises:
        ConfigError: the run has not finished, or no image of the split has a label.
    """
    config = config_from_json(run.config())
    classes = list(run.config()["classes"])
    samples, labels = _labelled(store, run, split, classes)
    probabilities = predict_samples(load_run_student(run), config, store, samples)
    on = "test split" if split is Split.TEST else "training images whose labels the run never saw"
    return _evaluation(run, on, probabilities, labels)


def evaluate_beside_data(project: Project, run: Run) -> Evaluation:
    """Compares the finished student of a run on a plain data set with that data's test split.

    Raises:
        ConfigError: the run has not finished, or the test images are not there.
    """
    import torch

    from gradebook.pipelines.training.data_modules import DATA
    from gradebook.pipelines.training.finalize import probabilities
    from gradebook.pipelines.training.image_loader import ImageLoader
    from gradebook.pipelines.training.plain_datasets import open_dataset

    config = config_from_json(run.config())
    data = open_dataset(config.data, project.root / DATA, Split.TEST, size=config.size)
    if list(data.classes) != run.config()["classes"]:
        raise ConfigError(f"the test images have other classes than {run.name}: correct their folders")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    source = ImageLoader(data.images, workers=config.workers, device=device)
    found = probabilities(load_run_student(run).to(device), source, np.arange(len(data.truth)))
    return _evaluation(run, "test split", found.double().numpy(), data.truth)


def is_beside_data(run: Run) -> bool:
    """Tells whether a run trained on a plain data set, without a catalogue."""
    return bool(run.config().get("data", {}).get("kind", "project") != "project")


def _evaluation(run: Run, on: str, probabilities: Probabilities, labels: NDArray[np.int64]) -> Evaluation:
    from gradebook.mpl import metrics

    classes = list(run.config()["classes"])
    table = metrics.confusion(probabilities, labels)
    return Evaluation(
        run=run.name,
        on=on,
        accuracy=metrics.accuracy(probabilities, labels),
        n=len(labels),
        ece=metrics.calibration_error(probabilities, labels),
        per_class={
            name: {"n": int(row.sum()), "accuracy": float(row[k] / row.sum()) if row.sum() else None}
            for k, (name, row) in enumerate(zip(classes, table, strict=True))
        },
        confusion=table.tolist(),
        classes=classes,
    )


def _labelled(store: "Store", run: Run, split: Split, classes: list[str]) -> tuple[list[Sample], NDArray[np.int64]]:
    """Returns the split's samples that have a label, and the labels; without those that the run has read."""
    given, read = replay(store.log.read()), run.labels()
    samples = [s for s in store.catalog.samples(split) if s.sample_id in given and s.sample_id not in read]
    samples = [s for s in samples if given[s.sample_id] in classes]
    if not samples:
        raise ConfigError(
            f"no image of the {split} split has a label to compare with: import some with: gradebook import "
            f"{store.project.root} IMAGES --split test --labels folders"
        )
    return samples, np.array([classes.index(given[s.sample_id]) for s in samples], np.int64)
