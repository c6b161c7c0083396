"""The tools of `gradebook mcp`: what an assistant can read of a project, and the labels that it may give.

A result has the keys of the command of the same name with `--json`. Reading tools change no labels, classes or runs.
Derived data, such as reasons and thumbnails, is cached as by the commands.
"""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.curation import labelling
from gradebook.pipelines.curation.labelling import Choice, Conflict, Undo
from gradebook.pipelines.curation.verdicts import Shown, shown_of
from gradebook.storage.events import VERDICTS, Event
from gradebook.storage.project import ProjectError
from gradebook.storage.samples import Sample

if TYPE_CHECKING:
    from gradebook.storage.store import Store

MAX_ROWS = 200  # of a queue
IMAGE_SIDE = 512  # pixels of the longer side of an image that is shown


@dataclass(frozen=True, slots=True)
class Seen:
    """What an assistant saw of a sample."""

    shown: Shown
    decision: str | None  # the event that decided the sample then, None if nothing did


@dataclass(slots=True)
class Tools:
    """The tools of one connection. Each call opens the project again, so classes and labels are current."""

    root: Path  # of the project
    actor: str  # under whose name labels are written
    _rows: dict[str, Shown] = field(default_factory=dict)  # sample_id -> what the newest queue showed
    _seen: dict[str, Seen] = field(default_factory=dict)  # sample_id -> what was shown with its image

    def status(self) -> dict[str, Any]:
        """Return the project in numbers: images, labels, classes, runs."""
        from gradebook.pipelines.reporting.project_stats import summarize_project

        return summarize_project(self._store())

    def queue(
        self, limit: int = 20, reason: str | None = None, labelled: bool = False, run: str | None = None
    ) -> list[dict[str, Any]]:
        """Return the images to review next, and why.

        limit is at most 200. A reason, such as disagreement, orders by this reason alone. With labelled, return labels
        that are probably wrong instead of unlabelled images. run is a run's name, or best.
        """
        from gradebook.pipelines.curation.queue_items import GIVEN, as_json
        from gradebook.pipelines.curation.review_queue import rank
        from gradebook.pipelines.runs import find_run, newest_finished

        if not 1 <= limit <= MAX_ROWS:
            raise ProjectError(f"limit is {limit}: give a number from 1 to {MAX_ROWS}")
        store = self._store()
        chosen = find_run(store.project, run) if run else newest_finished(store.project)
        rows = rank(store, chosen, reason=GIVEN if labelled else reason, limit=limit, spread=reason is None)
        self._rows |= {row.sample_id: shown_of(row, chosen.name if chosen else None) for row in rows}
        return [as_json(row) for row in rows]

    def record(self, sample: str, run: str | None = None) -> list[dict[str, Any]]:
        """Return what each training step recorded of an image: predictions of teacher and student, and the feedback.

        sample is a sample's id, or the path of its image. run is a run's name; by default every run.
        """
        from gradebook.pipelines.reporting.sample_history import history

        return history(self._store(), sample, run)

    def evaluate(self, run: str | None = None, split: str = "test") -> dict[str, Any]:
        """Return a run's accuracy on labelled images that it was not trained on, with 95 % intervals.

        run is a run's name, or best; by default the newest finished run. split is test; or train, for labels that were
        given after the run began.
        """
        from gradebook.pipelines.inference.measure import compute
        from gradebook.pipelines.runs import find_run

        project = self._store().project
        return compute(project, find_run(project, run), split).as_json()

    def image(self, sample: str) -> tuple[bytes, dict[str, Any]]:
        """Returns an image as a JPEG file, and a description of it.

        Args:
            sample: a sample's id, or the path of its image.

        Raises:
            ProjectError: there is no such sample.
            BrokenImage: its file is missing, or has changed since it was imported.
        """
        from gradebook.pipelines.image_cache import as_jpeg, open_preview

        store = self._store()
        found = _find(store, sample)
        content = as_jpeg(open_preview(store.project, found.sample_id, Path(found.filepath), IMAGE_SIDE), IMAGE_SIDE)
        decision = labelling.read_log(store).decided.get(found.sample_id)
        shown = self._rows.get(found.sample_id, Shown(sample_id=found.sample_id))
        self._seen[found.sample_id] = Seen(shown, decision.event_id if decision else None)
        about: dict[str, Any] = {"sample_id": found.sample_id, "filepath": found.filepath, "split": str(found.split)}
        about |= {"width": found.width, "height": found.height, "classes": list(store.project.classes)}
        return content, about | {"label": decision.label if decision else None, "by": decision and decision.actor}

    def label(self, sample: str, label: str | None) -> dict[str, Any]:
        """Label an image that view_image has shown; null means that it belongs to no class.

        The label is a verdict in the log, under this assistant's name, and undo reverts it.
        """
        store = self._store()
        found = _find(store, sample)
        log = labelling.read_log(store)
        self._check_may_label(store, found, log.decided.get(found.sample_id))
        if (seen := self._seen.get(found.sample_id)) is None:
            raise ProjectError(f"{found.sample_id} has not been viewed: call view_image first")
        choice = Choice(shown=seen.shown, label=label, expected=seen.decision)
        outcome = labelling.decide(store, [choice], actor=self.actor, read=partial(labelling.read_log, store, log))
        for conflict in outcome.conflicts:
            del self._seen[found.sample_id]
            raise ProjectError(_conflict(conflict))
        (event,) = outcome.taken
        self._seen[found.sample_id] = Seen(Shown(sample_id=found.sample_id), event.event_id)
        return {"event_id": event.event_id, "sample_id": found.sample_id, "label": event.label}

    def undo(self, event_id: str) -> dict[str, Any]:
        """Undo a label that this assistant has given; the earlier label applies again."""
        store = self._store()
        log = labelling.read_log(store)
        event = log.known.get(event_id)
        if event is None or event.actor != self.actor:
            raise ProjectError(f"{event_id} is not an event of {self.actor}: give the event_id that label returned")
        now = log.decided.get(event.sample_id)
        item = Undo(ref=event_id, expected=now.event_id if now else None)
        outcome = labelling.decide(store, [item], actor=self.actor, read=partial(labelling.read_log, store, log))
        for conflict in outcome.conflicts:
            raise ProjectError(_conflict(conflict))
        (undone,) = outcome.taken
        self._seen.pop(event.sample_id, None)
        after = labelling.read_log(store).decided.get(event.sample_id)
        label = after.label if after else None
        return {"event_id": undone.event_id, "undone": event_id, "sample_id": event.sample_id, "label": label}

    def _check_may_label(self, store: "Store", sample: Sample, decision: Event | None) -> None:
        """Checks that the labels of people and those that measure accuracy are left to people.

        Raises:
            ProjectError: the sample has, or is to get, such a label.
        """
        from gradebook.pipelines.curation.blind import hidden

        name = sample.sample_id
        if hidden(store.project, [sample]):
            raise ProjectError(f"{name} measures accuracy, so only a person may label it: choose another image")
        if decision is not None and decision.kind in VERDICTS and decision.actor != self.actor:
            label = decision.label or "no class"
            raise ProjectError(f"{decision.actor} has decided {name} ({label}), and only a person may change that")

    def _store(self) -> "Store":
        from gradebook.storage.store import open_store

        return open_store(self.root)


def _find(store: "Store", sample: str) -> Sample:
    from gradebook.pipelines.reporting.sample_history import find_sample

    (found,) = store.catalog.get([find_sample(store, sample)])
    return found


def _conflict(conflict: Conflict) -> str:
    """Returns the message for a decision that was not written."""
    by = conflict.by
    if by is None:
        return "this event is not a label, so there is nothing to undo: give the event_id that label returned"
    label = by.label or "no class"
    return f"{by.actor} has decided {by.sample_id} since ({label}), and that decision stands: call view_image again"
