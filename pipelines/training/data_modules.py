"""Where a run's images come from and where its directory lies: a project, or a plain data set beside its runs.

A data module supplies the training set and the networks' inputs. A plain data set's directory becomes a project too, as
far as its runs go: with classes and runs but without a catalogue, which takes no database.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from gradebook.pipelines.training import dataset, plain_datasets
from gradebook.pipelines.training.config import ConfigError, TrainConfig
from gradebook.pipelines.training.dataset import SAMPLES, InputSource, TrainingSet
from gradebook.pipelines.training.live_labels import LabelListener
from gradebook.pipelines.training.plain_datasets import PlainDataset
from gradebook.pipelines.training.sampler import Positions
from gradebook.pipelines.training.warm_start import initial_model
from gradebook.storage.events import decided_labels
from gradebook.storage.project import SETTINGS, Project, create_project, read_project
from gradebook.storage.samples import Split

if TYPE_CHECKING:
    import torch
    from torch import nn

    from gradebook.storage.store import Store

DATA = "data"  # where a plain data set lies unless its settings say otherwise


class DataModule(Protocol):
    """What the trainer asks of where it trains."""

    @property
    def project(self) -> Project:
        """Whose runs these are."""

    def training_set(self) -> TrainingSet:
        """Returns the samples to train on and what is known of them; raises ConfigError where that is too little."""

    def saved_training_set(self, path: Path) -> TrainingSet:
        """Returns what the run in the directory `path` began with, whatever has changed since."""

    def source(self, training_set: TrainingSet, device: "torch.device") -> InputSource:
        """Opens what the networks are fed; raises ConfigError where it is not there."""

    def initial_model(self) -> "nn.Module | None":
        """Returns the timm model that networks on pixels begin as; None for that of the config's backbone."""

    def listener(self) -> LabelListener | None:
        """Begins to listen for labels that people give from now on; None where nobody can."""

    def drop_record(self, run: str) -> None:
        """Drops what is kept of an earlier run of that name."""


def open_data(root: Path, config: TrainConfig[Any], store: "Store | None" = None) -> DataModule:
    """Opens the project in `root`, unless its `store` is open already, or the plain data set whose runs lie there.

    Raises:
        ProjectError: `root` is not a project, or the data set is not there.
    """
    if config.data.kind == "project":
        from gradebook.storage.store import open_store

        return ProjectData(store or open_store(root), config)
    return PlainData.opened(root, config)


@dataclass(frozen=True, slots=True)
class ProjectData:
    """A project with a catalogue; see `DataModule`."""

    store: "Store"
    config: TrainConfig[Any]

    @property
    def project(self) -> Project:
        """See `DataModule`."""
        return self.store.project

    def training_set(self) -> TrainingSet:
        """See `DataModule`."""
        return dataset.load_training_set(self.store, self.config)

    def saved_training_set(self, path: Path) -> TrainingSet:
        """See `DataModule`."""
        return dataset.load_saved_training_set(self.store, path)

    def source(self, training_set: TrainingSet, device: "torch.device") -> InputSource:
        """See `DataModule`."""
        return dataset.open_source(self.store, self.config, training_set, device)

    def initial_model(self) -> "nn.Module | None":
        """See `DataModule`."""
        return initial_model(self.config, self.project, self.store)

    def listener(self) -> LabelListener | None:
        """See `DataModule`."""
        log = self.store.log
        return LabelListener(log.version, lambda: decided_labels(log.read()))

    def drop_record(self, run: str) -> None:
        """See `DataModule`."""
        self.store.record.forget(run)


@dataclass(frozen=True, slots=True)
class PlainData:
    """A plain data set's training split; see `DataModule`."""

    project: Project
    found: PlainDataset
    config: TrainConfig[Any]

    @classmethod
    def opened(cls, root: Path, config: TrainConfig[Any]) -> "PlainData":
        """Finds the data, and makes `root` a project of its classes where it is none yet."""
        root = root.expanduser().resolve()
        found = plain_datasets.open_dataset(config.data, root / DATA, Split.TRAIN, size=config.size)
        project = read_project(root) if (root / SETTINGS).exists() else create_project(root, found.classes)
        if project.classes != found.classes:
            raise ConfigError(f"{root} holds runs of other classes than this data's: choose another directory")
        return cls(project, found, config)

    def training_set(self) -> TrainingSet:
        """See `DataModule`. Images that are neither labelled nor held out are the unlabelled ones."""
        told, seed = self.config.data, self.config.seed
        shown = plain_datasets.choose_labelled(told, self.found, seed)
        return self._training_set(shown, plain_datasets.choose_validation(told, self.found, shown, seed))

    def saved_training_set(self, path: Path) -> TrainingSet:
        """See `DataModule`."""
        saved = json.loads((path / SAMPLES).read_text(encoding="utf-8"))
        if saved["sample_ids"] != list(self.found.names):
            raise ConfigError(f"the images have changed since {path.name} began: put them back, or start a new run")
        at = {name: position for position, name in enumerate(self.found.names)}
        validation = np.array(saved["validation"], np.int64)
        known = np.array(sorted(at[name] for name in saved["labels"]), np.int64)
        return self._training_set(np.setdiff1d(known, validation), validation)

    def source(self, training_set: TrainingSet, device: "torch.device") -> InputSource:
        """See `DataModule`."""
        from gradebook.pipelines.training.image_loader import ImageLoader

        return ImageLoader(
            self.found.images, workers=self.config.workers, device=device, magnitude=self.config.magnitude
        )

    def initial_model(self) -> "nn.Module | None":
        """See `DataModule`."""
        return initial_model(self.config, self.project, None)

    def listener(self) -> LabelListener | None:
        """See `DataModule`. The labels are the folders' names."""
        return None

    def drop_record(self, run: str) -> None:
        """See `DataModule`. Nothing is kept elsewhere."""

    def _training_set(self, shown: Positions, validation: Positions) -> TrainingSet:
        known = np.union1d(shown, validation)
        labels = np.full(len(self.found.truth), -1, np.int64)
        labels[known] = self.found.truth[known]
        training_set = TrainingSet(
            classes=self.found.classes,
            sample_ids=self.found.names,
            labels=labels,
            labelled=shown,
            validation=validation,
            unlabelled=np.flatnonzero(labels < 0),
            truth=self.found.truth,
        )
        if len(training_set.unlabelled) == 0 and self.config.method != "supervised":
            raise ConfigError(
                f"every training image has a label, so {self.config.method} has nothing to learn from: "
                "use --method supervised, give fewer --data.labels, or a --data.pool"
            )
        return training_set
