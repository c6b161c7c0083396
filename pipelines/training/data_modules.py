"""Where a run's images come from and where its directory lies: a project, or a plain data set beside its runs.

The trainer asks a place for its population and its source, and knows no more of it. A plain data set's directory
becomes a project too, as far as its runs go: with classes and runs but without a catalogue, which takes no database.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from gradebook.pipelines.training import dataset, plain_datasets
from gradebook.pipelines.training.config import ConfigError, TrainConfig
from gradebook.pipelines.training.dataset import SAMPLES, Population, Source
from gradebook.pipelines.training.live_labels import Listener
from gradebook.pipelines.training.plain_datasets import DataSet
from gradebook.pipelines.training.sampler import Positions
from gradebook.pipelines.training.warm_start import beginning
from gradebook.storage.events import replay
from gradebook.storage.project import SETTINGS, Project, create_project, read_project
from gradebook.storage.samples import Split

if TYPE_CHECKING:
    import torch
    from torch import nn

    from gradebook.storage.store import Store

DATA = "data"  # where a plain data set lies unless its settings say otherwise


class Place(Protocol):
    """What the trainer asks of where it trains."""

    @property
    def project(self) -> Project:
        """Whose runs these are."""

    def population(self) -> Population:
        """Returns the samples to train on and what is known of them; raises ConfigError where that is too little."""

    def saved_population(self, path: Path) -> Population:
        """Returns what the run in the directory `path` began with, whatever has changed since."""

    def source(self, people: Population, device: "torch.device") -> Source:
        """Opens what the networks are fed; raises ConfigError where it is not there."""

    def beginning(self) -> "nn.Module | None":
        """Returns the timm model that networks on pixels begin as; None for that of the config's backbone."""

    def listener(self) -> Listener | None:
        """Begins to listen for labels that people give from now on; None where nobody can."""

    def forget(self, run: str) -> None:
        """Drops what is kept of an earlier run of that name."""


def open_place(root: Path, config: TrainConfig[Any], store: "Store | None" = None) -> Place:
    """Opens the project in `root`, unless its `store` is open already, or the plain data set whose runs lie there.

    Raises:
        ProjectError: `root` is not a project, or the data set is not there.
    """
    if config.data.kind == "project":
        from gradebook.storage.store import open_store

        return InProject(store or open_store(root), config)
    return BesideData.opened(root, config)


@dataclass(frozen=True, slots=True)
class InProject:
    """A project with a catalogue; see `Place`."""

    store: "Store"
    config: TrainConfig[Any]

    @property
    def project(self) -> Project:
        """See `Place`."""
        return self.store.project

    def population(self) -> Population:
        """See `Place`."""
        return dataset.population(self.store, self.config)

    def saved_population(self, path: Path) -> Population:
        """See `Place`."""
        return dataset.saved_population(self.store, path)

    def source(self, people: Population, device: "torch.device") -> Source:
        """See `Place`."""
        return dataset.open_source(self.store, self.config, people, device)

    def beginning(self) -> "nn.Module | None":
        """See `Place`."""
        return beginning(self.config, self.project, self.store)

    def listener(self) -> Listener | None:
        """See `Place`."""
        log = self.store.log
        return Listener(log.version, lambda: replay(log.read()))

    def forget(self, run: str) -> None:
        """See `Place`."""
        self.store.record.forget(run)


@dataclass(frozen=True, slots=True)
class BesideData:
    """A plain data set's training split; see `Place`."""

    project: Project
    found: DataSet
    config: TrainConfig[Any]

    @classmethod
    def opened(cls, root: Path, config: TrainConfig[Any]) -> "BesideData":
        """Finds the data, and makes `root` a project of its classes where it is none yet."""
        root = root.expanduser().resolve()
        found = plain_datasets.open_dataset(config.data, root / DATA, Split.TRAIN, size=config.size)
        project = read_project(root) if (root / SETTINGS).exists() else create_project(root, found.classes)
        if project.classes != found.classes:
            raise ConfigError(f"{root} holds runs of other classes than this data's: choose another directory")
        return cls(project, found, config)

    def population(self) -> Population:
        """See `Place`. Images that are neither labelled nor held out are the unlabelled ones."""
        told, seed = self.config.data, self.config.seed
        shown = plain_datasets.labelled(told, self.found, seed)
        return self._population(shown, plain_datasets.held_out(told, self.found, shown, seed))

    def saved_population(self, path: Path) -> Population:
        """See `Place`."""
        saved = json.loads((path / SAMPLES).read_text(encoding="utf-8"))
        if saved["sample_ids"] != list(self.found.names):
            raise ConfigError(f"the images have changed since {path.name} began: put them back, or start a new run")
        at = {name: position for position, name in enumerate(self.found.names)}
        validation = np.array(saved["validation"], np.int64)
        known = np.array(sorted(at[name] for name in saved["labels"]), np.int64)
        return self._population(np.setdiff1d(known, validation), validation)

    def source(self, people: Population, device: "torch.device") -> Source:
        """See `Place`."""
        from gradebook.pipelines.training.image_loader import Pixels

        return Pixels(self.found.images, workers=self.config.workers, device=device, magnitude=self.config.magnitude)

    def beginning(self) -> "nn.Module | None":
        """See `Place`."""
        return beginning(self.config, self.project, None)

    def listener(self) -> Listener | None:
        """See `Place`. The labels are the folders' names."""
        return None

    def forget(self, run: str) -> None:
        """See `Place`. Nothing is kept elsewhere."""

    def _population(self, shown: Positions, validation: Positions) -> Population:
        known = np.union1d(shown, validation)
        labels = np.full(len(self.found.truth), -1, np.int64)
        labels[known] = self.found.truth[known]
        people = Population(
            classes=self.found.classes,
            sample_ids=self.found.names,
            labels=labels,
            labelled=shown,
            validation=validation,
            unlabelled=np.flatnonzero(labels < 0),
            truth=self.found.truth,
        )
        if len(people.unlabelled) == 0 and self.config.method != "supervised":
            raise ConfigError(
                f"every training image has a label, so {self.config.method} has nothing to learn from: "
                "use --method supervised, give fewer --data.labels, or a --data.pool"
            )
        return people
