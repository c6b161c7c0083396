"""Data modules: the samples and inputs of a run, from a project or from a plain data set.

The runs on a plain data set are kept in a project as well, one that has classes and runs but no catalogue, and so needs
no database.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from gradebook.pipelines.training import dataset, plain_datasets
from gradebook.pipelines.training.config import ConfigError, TrainCommand, TrainConfig
from gradebook.pipelines.training.dataset import SAMPLES, InputSource, TrainingSet
from gradebook.pipelines.training.live_labels import LabelListener
from gradebook.pipelines.training.plain_datasets import PlainDataset
from gradebook.pipelines.training.sampler import Positions
from gradebook.pipelines.training.warm_start import initial_model
from gradebook.storage.events import class_history, decided_labels
from gradebook.storage.project import SETTINGS, Project, ProjectError, create_project, read_project
from gradebook.storage.run_classes import present_classes
from gradebook.storage.samples import Split
from gradebook.storage.splits import drawn_for_testing

if TYPE_CHECKING:
    import torch
    from torch import nn

    from gradebook.storage.store import Store

DATA = "data"  # the folder of a plain data set, unless its settings name another


class DataModule(Protocol):
    """Supplies a run with its samples and inputs."""

    @property
    def project(self) -> Project:
        """The project that the run belongs to."""

    def training_set(self) -> TrainingSet:
        """Returns the samples of a new run, or those that a resumed run started with, whatever has changed since.

        Raises:
            ConfigError: there is too little to train on, or what a resumed run started with is gone.
        """

    def inputs(self, training_set: TrainingSet, device: "torch.device") -> InputSource:
        """Opens the networks' inputs for these samples; raises ConfigError where there are none."""

    def initial_model(self) -> "nn.Module | None":
        """Returns the timm model whose weights networks on pixels start from; None for the config's own backbone."""

    def label_listener(self) -> LabelListener | None:
        """Starts to listen for labels that are given from now on; None where labels cannot change."""

    def drop_record(self, run: str) -> None:
        """Removes an earlier run of that name from the project's record."""


def open_data(command: TrainCommand[Any], store: "Store | None" = None) -> DataModule:
    """Opens the data of a run: a project, or a plain data set whose runs are in the command's directory.

    Args:
        command: which data, and whether the run is resumed.
        store: of the project, where it is open already.

    Raises:
        ProjectError: there is no such project or data set.
    """
    if command.config.data.kind == "project":
        from gradebook.storage.store import open_store

        return ProjectData(store or open_store(command.project), command.config, command.resume)
    return PlainData.open(command)


@dataclass(frozen=True, slots=True)
class ProjectData:
    """A project with a catalogue; see `DataModule`."""

    store: "Store"
    config: TrainConfig[Any]
    resume: bool

    @property
    def project(self) -> Project:
        """See `DataModule`."""
        return self.store.project

    def training_set(self) -> TrainingSet:
        """See `DataModule`."""
        if self.resume:
            return dataset.load_saved_training_set(self.store, self.project.runs / self.config.run)
        return dataset.load_training_set(self.store, self.config)

    def inputs(self, training_set: TrainingSet, device: "torch.device") -> InputSource:
        """See `DataModule`."""
        return dataset.open_inputs(self.store, self.config, training_set, device)

    def initial_model(self) -> "nn.Module | None":
        """See `DataModule`."""
        return initial_model(self.config, self.project, self.store)

    def label_listener(self) -> LabelListener | None:
        """See `DataModule`."""
        return LabelListener(self.store.log.version, self._labels)

    def drop_record(self, run: str) -> None:
        """See `DataModule`."""
        self.store.record.forget(run)

    def _labels(self) -> dict[str, str | None]:
        """Returns the current labels. Of a run that is older than the draw of a test split, its images have none.

        Raises:
            ProjectError: the run cannot follow a change of classes, which `gradebook classes` refuses while it trains.
        """
        events = self.store.log.read()
        history = class_history(events)
        class_map = present_classes(self.project.classes, self.project.history.newest, history)
        if class_map.have_changed:
            raise ProjectError(f"the classes of the project have changed while this run trains: {class_map.describe()}")
        drawn = drawn_for_testing(self.store.catalog.split_changes())
        return {i: label for i, label in decided_labels(events, history).items() if i not in drawn}


@dataclass(frozen=True, slots=True)
class PlainData:
    """The training split of a plain data set; see `DataModule`."""

    project: Project
    dataset: PlainDataset
    config: TrainConfig[Any]
    resume: bool

    @classmethod
    def open(cls, command: TrainCommand[Any]) -> "PlainData":
        """Opens the data, and makes the command's directory a project of its classes where it is none yet."""
        root, config = command.project.expanduser().resolve(), command.config
        opened = plain_datasets.open_dataset(config.data, root / DATA, Split.TRAIN, size=config.size)
        project = read_project(root) if (root / SETTINGS).exists() else create_project(root, opened.classes)
        if project.classes != opened.classes:
            raise ConfigError(f"{root} holds runs of other classes than this data's: choose another directory")
        return cls(project, opened, config, command.resume)

    def training_set(self) -> TrainingSet:
        """See `DataModule`. Images that are neither labelled nor held out are unlabelled."""
        if self.resume:
            return self._saved_training_set(self.project.runs / self.config.run)
        data, seed = self.config.data, self.config.seed
        labelled = plain_datasets.choose_labelled(data, self.dataset, seed)
        return self._training_set(labelled, plain_datasets.choose_validation(data, self.dataset, labelled, seed))

    def inputs(self, training_set: TrainingSet, device: "torch.device") -> InputSource:
        """See `DataModule`."""
        from gradebook.pipelines.training.image_loader import ImageLoader

        config = self.config
        return ImageLoader(self.dataset.images, workers=config.workers, device=device, magnitude=config.magnitude)

    def initial_model(self) -> "nn.Module | None":
        """See `DataModule`."""
        return initial_model(self.config, self.project, None)

    def label_listener(self) -> LabelListener | None:
        """See `DataModule`. The labels are the names of the folders, which do not change."""
        return None

    def drop_record(self, run: str) -> None:
        """See `DataModule`. The record is in the run's directory alone."""

    def _saved_training_set(self, path: Path) -> TrainingSet:
        """Returns what the run in the directory `path` started with."""
        saved = json.loads((path / SAMPLES).read_text(encoding="utf-8"))
        if saved["sample_ids"] != list(self.dataset.names):
            raise ConfigError(f"the images have changed since {path.name} began: put them back, or start a new run")
        position = {name: k for k, name in enumerate(self.dataset.names)}
        validation = np.array(saved["validation"], np.int64)
        with_label = np.array(sorted(position[name] for name in saved["labels"]), np.int64)
        return self._training_set(np.setdiff1d(with_label, validation), validation)

    def _training_set(self, labelled: Positions, validation: Positions) -> TrainingSet:
        with_label = np.union1d(labelled, validation)
        labels = np.full(len(self.dataset.truth), -1, np.int64)
        labels[with_label] = self.dataset.truth[with_label]
        unlabelled = np.flatnonzero(labels < 0)
        if len(unlabelled) == 0 and self.config.method != "supervised":
            raise ConfigError(
                f"every training image has a label, so {self.config.method} has nothing to learn from: "
                "use --method supervised, give fewer --data.labels, or a --data.pool"
            )
        return TrainingSet(
            classes=self.dataset.classes,
            sample_ids=self.dataset.names,
            labels=labels,
            labelled=labelled,
            validation=validation,
            unlabelled=unlabelled,
            truth=self.dataset.truth,
        )
