"""How good a run's student is: on the test split, or on training images whose labels the run never saw."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.config import ConfigError, TrainConfig
from pipelines.presets import restored
from pipelines.runs import Run
from storage.events import replay
from storage.samples import Sample, Split

if TYPE_CHECKING:
    from torch import nn

    from storage.store import Store


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
    from mpl import metrics

    config = restored(run.config())
    classes = list(run.config()["classes"])
    samples, labels = _labelled(store, run, split, classes)
    net = student_of(run)
    probabilities = predict_samples(net, config, store, samples)
    table = metrics.confusion(probabilities, labels)
    return Evaluation(
        run=run.name,
        on="test split" if split is Split.TEST else "training images whose labels the run never saw",
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


def student_of(run: Run) -> "nn.Module":
    """Returns the finished student of a run; raises what `learners.load_student` raises."""
    from pipelines.learners import load_student

    return load_student(run.path, restored(run.config()))


def predict_samples(
    net: "nn.Module", config: TrainConfig[Any], store: "Store", samples: list[Sample]
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Returns what a student thinks of samples, (N, K), from cached views or from their files, as it was trained.

    Raises:
        ConfigError: samples have no cached views yet.
    """
    import torch

    from pipelines.data import CachedViews, Source, views_of
    from pipelines.outcome import probabilities
    from pipelines.pixels import Pixels

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if config.inputs == "views":
        views, weak = views_of(store, config.backbone, [s.sample_id for s in samples])
        source: Source = CachedViews(torch.from_numpy(views).to(device), weak)
    else:
        paths = [s.filepath for s in samples]
        source = Pixels(paths, size=config.size, workers=config.workers, device=device)
    return probabilities(net.to(device), source, np.arange(len(samples))).double().numpy()


def _labelled(
    store: "Store", run: Run, split: Split, classes: list[str]
) -> tuple[list[Sample], np.ndarray[Any, np.dtype[np.int64]]]:
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
