"""A project as the Python API shows it: import, embed, queue, label, train."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradebook.api import labelling, tables
from gradebook.api.run import Run
from gradebook.pipelines.process.errors import project_errors
from gradebook.pipelines.process.progress import progress
from gradebook.storage import project as projects
from gradebook.storage.project import ProjectError
from gradebook.storage.samples import Split

if TYPE_CHECKING:
    import pandas as pd

    from gradebook.pipelines.embedding.embed import EmbedReport
    from gradebook.pipelines.importing.import_report import ImportReport
    from gradebook.storage.events import Event

AnyPath = str | os.PathLike[str]


class Project:
    """A directory with the settings, labels, embeddings and runs of a set of images; the images stay where they are."""

    @project_errors()
    def __init__(self, path: AnyPath):
        """Opens the project in a directory."""
        self._root = Path(path)
        self._open()
        self._shown: dict[str, labelling.Shown] = {}

    def _open(self) -> None:
        from gradebook.storage.store import open_store

        self._store = open_store(self._root)

    def __repr__(self) -> str:
        return f"<Project {self.path}: {', '.join(self.classes) or 'no classes yet'}>"

    @property
    def path(self) -> Path:
        """The project's directory."""
        return self._store.project.root

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, in the order in which models number them."""
        return projects.read_project(self.path).classes

    @project_errors()
    def add_classes(self, names: Sequence[str]) -> tuple[str, ...]:
        """Adds classes at the end, and returns all of them.

        Raises:
            ProjectError: a name is empty, or has control characters.
        """
        if isinstance(names, str):
            raise ProjectError(f"names is {names!r}: give a list of names")
        from gradebook.pipelines.curation.class_changes import add_missing
        from gradebook.pipelines.curation.labelling import actor

        add_missing(self._store, names, actor=actor())
        self._open()
        return self.classes

    @project_errors()
    def import_images(self, images: AnyPath, *, labels: str = "none", split: str = "train") -> "ImportReport":
        """Imports images, which stay where they are; known ones are not read again.

        Args:
            images: a folder, a zip file, one image, a table with a column filepath, or any other source that
                `gradebook import` takes.
            labels: "none"; "folders", if the name of an image's folder is its label; or a table of labels.
            split: "test" for images that are never trained on. With "train", split folders and columns count.

        Raises:
            ProjectError: there are no images, or the labels cannot be read or name unknown classes.
        """
        from gradebook.pipelines.importing.import_images import import_images
        from gradebook.pipelines.importing.sources import opened_source

        with progress("import") as show:
            source, labels = opened_source(self.path, Path(images), str(labels), partial(show, what="unpack"))
            report = import_images(self._store, source, labels=labels, split=_split(split), progress=show)
        self._open()  # the import may have added classes
        return report

    @project_errors()
    def embed(
        self,
        backbone: str = "tf_efficientnet_lite0",
        *,
        views: int | None = None,
        size: int | None = None,
        weights: str | None = None,
    ) -> "EmbedReport":
        """Computes the embeddings of all images that have none yet, with a frozen backbone.

        Args:
            backbone: timm's name of a model, or local-dir:DIR for one that timm saved.
            views: cached views of an image, the plain one included; None takes 5, fewer of many images.
            size: pixels a side; None takes what the backbone was made for.
            weights: "pretrained" (the default), a file of weights, or "random" (only for trials).

        Raises:
            ProjectError: there are no images, the weights cannot be loaded, or earlier embeddings have other settings.
        """
        from gradebook.pipelines.embedding.embed import embed

        with progress("embed") as show:
            return embed(self._store, backbone=backbone, views=views, size=size, weights=weights, progress=show)

    @property
    @project_errors()
    def samples(self) -> "pd.DataFrame":
        """All images: sample_id, filepath, split, width, height, label, by, at."""
        return tables.samples_table(self._store.catalog.samples(), self._decided())

    @property
    @project_errors()
    def labels(self) -> "pd.DataFrame":
        """The labelled images: sample_id, filepath, split, label, by, at."""
        decided = {i: e for i, e in self._decided().items() if e.label is not None}
        labelled = [s for s in self._store.catalog.samples() if s.sample_id in decided]
        return tables.samples_table(labelled, decided, tables.LABELS)

    @project_errors()
    def queue(
        self,
        limit: int = 50,
        *,
        reason: str | None = None,
        spread: bool = True,
        labelled: bool = False,
        run: str | None = None,
    ) -> "pd.DataFrame":
        """Returns the images to review next: sample_id, filepath, label, probability, and a column for each reason.

        `label` then compares with what this table showed: an image that somebody else decides meanwhile is a conflict.

        Args:
            limit: maximum number of images.
            reason: order by this reason alone, such as "disagreement".
            spread: whether to choose a diverse batch; False, or a reason, orders strictly by score.
            labelled: whether to return labels that are probably wrong, instead of unlabelled images.
            run: whose predictions to use, a name or "best"; None takes those of the newest finished run, if any.

        Raises:
            ProjectError: there is no such reason or run.
        """
        from gradebook.pipelines.curation.queue_items import GIVEN
        from gradebook.pipelines.curation.review_queue import rank
        from gradebook.pipelines.runs import find_run, newest_finished

        if labelled and reason not in (None, GIVEN):
            raise ProjectError(f"labelled=True orders by {GIVEN}: leave out reason={reason!r}")
        chosen = find_run(self._store.project, run) if run else newest_finished(self._store.project)
        spread = spread and reason is None
        rows = rank(self._store, chosen, reason=GIVEN if labelled else reason, limit=limit, spread=spread)
        self._shown |= {row.sample_id: labelling.shown(row, chosen.name if chosen else None) for row in rows}
        return tables.queue_table(rows)

    @project_errors()
    def label(self, labels: "Mapping[str, str] | pd.DataFrame", *, actor: str | None = None) -> labelling.LabelResult:
        """Labels images, as verdicts of a person in the log.

        Args:
            labels: sample_id or path of the image -> class; or a table with columns sample_id (or filepath) and label.
            actor: the person's name; None takes the name of the account.

        Raises:
            ProjectError: there is no such sample or class, or a label is missing. Nothing was written.
        """
        result = labelling.label(self._store, labels, self._shown, actor)
        for sample_id in (*result.taken.sample_id, *result.conflicts.sample_id):
            self._shown.pop(sample_id, None)  # the caller is informed of conflicts, and may label these again
        return result

    @project_errors()
    def undo(self, event_id: str, *, actor: str | None = None) -> str | None:
        """Undoes a verdict, or an earlier undo; returns the label that the sample has now.

        Args:
            event_id: of the event, from `LabelResult.taken` or `log`.
            actor: as in `label`.

        Raises:
            ProjectError: there is no such event, or it is undone already.
        """
        from gradebook.pipelines.curation.labelling import actor as account
        from gradebook.pipelines.curation.retractions import take_back

        event = take_back(self._store, event_id, actor=actor or account())
        now = self._decided().get(event.sample_id)
        return None if now is None else now.label

    @project_errors()
    def log(self, sample: str | None = None, *, limit: int | None = None) -> "pd.DataFrame":
        """Returns the events of the log, newest first: of one sample (its id or path), or of all."""
        from gradebook.pipelines.reporting.audit_log import read_audit_log

        return tables.events_table(row.event for row in read_audit_log(self._store, sample, limit=limit))

    @project_errors()
    def train(
        self,
        method: str = "mpl",
        *,
        preset: str = "quick",
        steps: int | None = None,
        seed: int = 0,
        run: str = "",
        settings: Mapping[str, Any] | None = None,
    ) -> Run:
        """Trains a classifier in this process, and returns its run; Ctrl-C stops it after the step, to be resumed.

        Args:
            method: a training method, such as "mpl", "uda" or "supervised".
            preset: the defaults of all settings.
            steps: training steps; None takes the preset's.
            seed: random seed.
            run: the run's name; by default the method and a number.
            settings: other settings by their names on the command line, such as {"feedback": "none",
                "student.lr": 0.01}.

        Raises:
            ConfigError: there is no such method, preset or setting, or the project does not allow it.
        """
        from gradebook.pipelines.training.config import TrainCommand
        from gradebook.pipelines.training.presets import preset_of, with_settings
        from gradebook.pipelines.training.run_setup import use_embedded_backbone
        from gradebook.pipelines.training.trainer import train

        given = {"seed": seed, "run": run, **({} if steps is None else {"steps": steps}), **(settings or {})}
        command = TrainCommand(project=self.path, config=with_settings(preset_of(preset, method), given))
        result = train(use_embedded_backbone(command, is_named="backbone" in given), self._store)
        assert result is not None, "this is the only process"
        return self.run(result.run)

    @project_errors()
    def run(self, name: str | None = None) -> Run:
        """Returns the run of that name, "best" for the highest validation accuracy, or the newest finished one.

        Raises:
            ProjectError: there is no such run.
        """
        from gradebook.pipelines.runs import find_run

        return Run(self._store, find_run(self._store.project, name))

    @property
    def runs(self) -> list[Run]:
        """All runs, oldest first."""
        from gradebook.pipelines.runs import list_runs

        return [Run(self._store, run) for run in list_runs(self._store.project)]

    @project_errors()
    def status(self) -> dict[str, Any]:
        """Returns the project in numbers: images, labels, runs; the keys of `gradebook status --json`."""
        from gradebook.pipelines.reporting.project_stats import summarize_project

        return summarize_project(self._store)

    @project_errors()
    def neighbours(self, sample: str, *, limit: int = 12) -> "pd.DataFrame":
        """Returns the unlabelled images most similar to a labelled one: sample_id, filepath, label, similarity.

        Raises:
            ProjectError: there is no such sample, it has no label, or there are no embeddings.
        """
        from gradebook.pipelines.curation.label_propagation import neighbours
        from gradebook.pipelines.reporting.sample_history import find_sample

        rows = neighbours(self._store, find_sample(self._store, sample), limit=limit)
        return tables.frame(map(asdict, rows), ("sample_id", "filepath", "label", "similarity"))

    @project_errors()
    def export_labels(
        self,
        out: AnyPath,
        format: str = "csv",  # noqa: A002  # as the option's name
        *,
        what: str = "labels",
        run: str | None = None,
        relative: bool = False,
    ) -> dict[str, Any]:
        """Writes labels or predictions for other programs; returns the keys of `gradebook export-labels --json`.

        Args:
            out: a new file, or a new directory for formats of several files.
            format: "csv", "parquet", "coco", "label-studio", "cvat", "folder", "fiftyone" or "huggingface".
            what: "labels", "predictions" for the images without a label, or "rejected" images.
            run: the run that predicts; see `run`.
            relative: whether paths are relative to the directory of `out`.

        Raises:
            ProjectError: there is nothing to export, there is no such format, or `out` exists.
        """
        from gradebook.pipelines.export.labels import check_format, check_what, export_labels
        from gradebook.pipelines.runs import find_run

        form, chosen = check_format(format), check_what(what)
        predictor = find_run(self._store.project, run) if what == "predictions" else None
        with progress("export-labels") as show:
            return export_labels(
                self._store, Path(out), form, what=chosen, run=predictor, relative=relative, progress=show
            ).as_json()

    def _decided(self) -> "dict[str, Event]":
        from gradebook.storage.events import decisions

        return decisions(self._store.log.read())


def _split(name: str) -> Split:
    if name not in set(Split):
        raise ProjectError(f"there is no split {name!r}: give train or test")
    return Split(name)
