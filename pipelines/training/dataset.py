"""The training set of a run: its samples, their labels, and what supplies the networks' inputs.

Shape legend    N samples
"""

import json
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gradebook.pipelines.image_cache import SquareImages
from gradebook.pipelines.process.progress import say
from gradebook.pipelines.runs import LABELS, Run
from gradebook.pipelines.training.cached_views import CachedViews, load_views, view_count
from gradebook.pipelines.training.config import ConfigError, TrainConfig
from gradebook.pipelines.training.sampler import Draw, Positions, Sampler
from gradebook.storage.checksums import write_json
from gradebook.storage.run_classes import AS_OF
from gradebook.storage.sample_files import changed_samples
from gradebook.storage.samples import Sample, Split

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from gradebook.mpl.step import Batch
    from gradebook.storage.store import Store

SAMPLES = "samples.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSet:
    """The samples of a run's training split, and their labels."""

    classes: tuple[str, ...]
    sample_ids: Sequence[str]
    labels: NDArray[np.int64]  # (N,) class, or -1 where there is no label
    labelled: Positions  # of the samples that are trained on with their label
    validation: Positions  # of the samples whose label is held out
    unlabelled: Positions  # of the samples without a label, except the rejected ones
    rejected: Positions = field(
        default_factory=lambda: np.empty(0, np.int64)
    )  # no class applies; nothing learns from them
    filepaths: Sequence[str] = ()  # of a project's samples
    truth: NDArray[np.int64] | None = None  # (N,) true class, or -1, for data that have it; nothing learns from it
    views: int | None = None  # cached views of each sample to train on, the plain one first; None for all
    classes_as_of: str | None = None  # the project's newest class event when `classes` was read

    def sampler(self, config: TrainConfig[Any]) -> Sampler:
        """Returns the sampler of the run's batches."""
        return Sampler(
            labelled=self.labelled,
            unlabelled=self.unlabelled,
            batch_labelled=config.labelled,
            batch_unlabelled=config.unlabelled,
            seed=config.seed,
        )


class InputSource(Protocol):
    """Supplies the networks' inputs."""

    def batches(self, draws: Iterable[Draw], labels: "Tensor") -> "Iterator[Batch]":
        """Yields the batch of each draw; `labels` (N,) int64 are on the device and may change meanwhile."""

    def unaugmented(self, positions: Positions, *, batch: int) -> "Iterator[Tensor]":
        """Yields the inputs of these samples without augmentation, (batch, ...) each."""


def load_training_set(store: "Store", config: TrainConfig[Any]) -> TrainingSet:
    """Loads the training split and its labels, and holds out the validation labels.

    Raises:
        ConfigError: there is too little to train on; the message says what is missing.
    """
    from gradebook.storage.events import class_history, decided_labels

    samples, events = _usable(store, config), store.log.read()
    history = class_history(events)
    classes = tuple(c.name for c in history.classes) if history else store.project.classes
    decided = decided_labels(events, history)
    labels = _indices(samples, decided, classes)
    rejected = _rejected(samples, {i for i, label in decided.items() if label is None})
    _check(store, classes, labels, rejected, config)
    held_out = _draw_validation(labels, config.validation_share, config.seed)
    training_set = _training_set(classes, samples, labels, held_out, rejected)
    views = view_count(store, config, training_set.sample_ids)
    return replace(training_set, views=views, classes_as_of=history.newest)


def load_saved_training_set(store: "Store", path: Path) -> TrainingSet:
    """Loads the training set that the run in the directory `path` started with, whatever has changed since."""
    saved, config = json.loads((path / SAMPLES).read_text(encoding="utf-8")), Run(path).config()
    classes = config["classes"]
    samples = store.catalog.get(saved["sample_ids"])
    labels, rejected = _indices(samples, saved["labels"], classes), _rejected(samples, set(saved.get("rejected", ())))
    training_set = _training_set(classes, samples, labels, np.array(saved["validation"], np.int64), rejected)
    return replace(training_set, views=saved.get("views"), classes_as_of=config.get(AS_OF))


def save_training_set(training_set: TrainingSet, path: Path) -> None:
    """Writes the training set that a run starts with into its directory `path`: samples.json and labels.json."""
    saved: dict[str, Any] = {
        "sample_ids": list(training_set.sample_ids),
        "validation": training_set.validation.tolist(),
        "labels": label_names(training_set),
        "views": training_set.views,
    }
    if len(training_set.rejected):
        saved["rejected"] = [training_set.sample_ids[k] for k in training_set.rejected]
    write_json(path / SAMPLES, saved)
    write_labels(training_set, path)


def write_labels(training_set: TrainingSet, path: Path) -> None:
    """Writes all labels that the run in the directory `path` has used so far, atomically."""
    write_json(path / LABELS, label_names(training_set), indent=1)


def label_names(training_set: TrainingSet) -> dict[str, str]:
    """Returns sample_id -> class name of every label, held-out ones included."""
    labelled = np.flatnonzero(training_set.labels >= 0).tolist()
    return {training_set.sample_ids[k]: training_set.classes[training_set.labels[k]] for k in labelled}


def missing_classes(training_set: TrainingSet) -> list[str]:
    """Returns the classes without a training label, which a model cannot learn."""
    classes_with_label = set(training_set.labels[training_set.labelled].tolist())
    return [name for k, name in enumerate(training_set.classes) if k not in classes_with_label]


def open_inputs(
    store: "Store", config: TrainConfig[Any], training_set: TrainingSet, device: "torch.device"
) -> InputSource:
    """Opens the inputs of a run in a project; raises what `load_views` raises."""
    import torch

    if config.inputs == "views":
        views, weak = load_views(store, config.backbone, training_set.sample_ids, training_set.views)
        return CachedViews(torch.from_numpy(views).to(device), weak)
    from gradebook.pipelines.training.image_loader import ImageLoader

    images = SquareImages(store.project, training_set.filepaths, training_set.sample_ids, config.size)
    return ImageLoader(images, workers=config.workers, device=device, magnitude=config.magnitude)


def _usable(store: "Store", config: TrainConfig[Any]) -> list[Sample]:
    """Returns the training samples whose files are as imported and, for cached views, that have them.

    Says which are left out.
    """
    samples = without_changed(store, store.catalog.samples(Split.TRAIN), kind="training")
    if config.inputs == "pixels" or not any(s.backbone == config.backbone for s in store.vectors.spaces()):
        return samples
    missing = set(store.vectors.missing(config.backbone, [s.sample_id for s in samples]))
    if missing and len(missing) < len(samples):
        say(
            f"{len(missing)} training images have no cached views of {config.backbone} and are left out: "
            f"gradebook embed {store.project.root} makes them"
        )
        return [s for s in samples if s.sample_id not in missing]
    return samples


def without_changed(store: "Store", samples: Sequence[Sample], *, kind: str) -> list[Sample]:
    """Returns the samples whose files are as imported, and prints how many others of this kind are left out."""
    changed = {sample.sample_id for sample in changed_samples(store.catalog, samples)}
    if changed:
        say(
            f"the files of {len(changed)} {kind} images have changed since they were imported, so these are left "
            f"out: gradebook verify {store.project.root} lists them, and importing them again adds their new content"
        )
    return [sample for sample in samples if sample.sample_id not in changed]


def _indices(samples: Sequence[Sample], given: Mapping[str, str | None], classes: Sequence[str]) -> Positions:
    index = {name: k for k, name in enumerate(classes)}
    names = (given.get(s.sample_id) for s in samples)
    return np.array([-1 if name is None else index[name] for name in names], np.int64)


def _rejected(samples: Sequence[Sample], ids: Container[str]) -> Positions:
    return np.array([k for k, s in enumerate(samples) if s.sample_id in ids], np.int64)


def _training_set(
    classes: Sequence[str], samples: Sequence[Sample], labels: Positions, validation: Positions, rejected: Positions
) -> TrainingSet:
    return TrainingSet(
        classes=tuple(classes),
        sample_ids=[s.sample_id for s in samples],
        filepaths=[s.filepath for s in samples],
        labels=labels,
        labelled=np.setdiff1d(np.flatnonzero(labels >= 0), validation),
        validation=validation,
        unlabelled=np.setdiff1d(np.flatnonzero(labels < 0), rejected),
        rejected=rejected,
    )


def _draw_validation(labels: Positions, share: float, seed: int) -> Positions:
    """Draws the positions of the validation labels: a share of all, of classes that keep at least one label."""
    labelled = np.flatnonzero(labels >= 0)
    wanted = int(np.ceil(share * len(labelled)))
    spare = {int(k): int((labels == k).sum()) - 1 for k in np.unique(labels[labelled])}
    chosen: list[int] = []
    for position in np.random.default_rng([seed, len(labelled)]).permutation(labelled):
        label = int(labels[position])
        if len(chosen) < wanted and spare[label] > 0:
            spare[label] -= 1
            chosen.append(int(position))
    return np.array(sorted(chosen), np.int64)


def _check(
    store: "Store", classes: Sequence[str], labels: Positions, rejected: Positions, config: TrainConfig[Any]
) -> None:
    root = store.project.root
    if len(classes) < 2:
        raise ConfigError(f"{root} has fewer than two classes: add them with: gradebook classes {root} --add a,b")
    if len(labels) == 0:
        raise ConfigError(f"{root} has no training images: import some with: gradebook import {root} IMAGES")
    if len(np.unique(labels[labels >= 0])) < 2:
        raise ConfigError(
            f"fewer than two classes have a label: label at least one image of each class, "
            f"with: gradebook label {root} FILE.csv, or in the app: gradebook app {root}"
        )
    if config.method != "supervised" and (labels < 0).sum() == len(rejected):
        decided = "has a label or was rejected" if len(rejected) else "has a label"
        raise ConfigError(
            f"every training image {decided}, so {config.method} has nothing to learn from: "
            "use --method supervised, or import more images"
        )
