"""Labels that arrive while a run trains: the main process polls for them, all processes apply them at the same step.

A change is written into the run's directory before the step at which it takes effect, so that a resumed run applies it
at that step again: changes.json has the changes, labels.json all labels known so far. Where worker processes decode
images, batches are drawn ahead, and a change takes effect some steps after it was found.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from gradebook.pipelines.process.progress import say
from gradebook.pipelines.runs import CHANGES, Change, Run
from gradebook.pipelines.training.config import TrainConfig
from gradebook.pipelines.training.dataset import TrainingSet, label_names, write_labels
from gradebook.pipelines.training.sampler import Sampler, SamplerTimeline
from gradebook.storage.checksums import write_json

if TYPE_CHECKING:
    from torch import Tensor

    from gradebook.pipelines.training.backend import Backend

POLL_INTERVAL_S = 1.0

Labels = Mapping[str, str | None]  # sample_id -> class name, None where no class applies
T = TypeVar("T")


class LabelListener:
    """Polls, between steps and now and then only, whether the project's labels have changed."""

    def __init__(self, version: Callable[[], object], labels: Callable[[], Labels], *, every: float = POLL_INTERVAL_S):
        """Makes a listener.

        Args:
            version: returns a value that changes with the labels; cheap to call.
            labels: returns all current labels.
            every: seconds between two polls.
        """
        self._version = version
        self._labels = labels
        self._every = every  # seconds
        self._seen: object = None
        self._next = 0.0  # when to poll again, seconds
        self._failed = False

    def has_news(self) -> bool:
        """Returns whether the labels may have changed; False between two polls."""
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + self._every
        return self._try(self._version, self._seen) != self._seen

    def take(self) -> Labels | None:
        """Returns all current labels; None where they cannot be read at the moment."""
        version = self._try(self._version, self._seen)
        labels = self._try(self._labels, None)
        self._seen = self._seen if labels is None else version
        return labels

    def _try(self, read: Callable[[], T], default: T) -> T:
        try:
            value = read()
        except Exception as error:  # any error of a database: training can continue without it
            if not self._failed:
                say(f"the labels cannot be read at the moment ({error}): this run continues with those that it has")
            self._failed = True
            return default
        self._failed = False
        return value


@dataclass(slots=True, kw_only=True)
class LiveLabels:
    """A run's samples and labels as they change during training."""

    config: TrainConfig[Any]
    path: Path  # the run's directory
    backend: "Backend"
    training_set: TrainingSet  # at this step
    planned: TrainingSet  # after all changes that are known
    labels: "Tensor"  # (N,) of `training_set`, on the device; batches take their labels from it
    timeline: SamplerTimeline
    changes: list[Change]  # in order of steps
    endless: bool = False  # whether labels are taken after the config's steps too, as in a live session
    listener: LabelListener | None = None  # in the main process of a run in a project

    def has_news(self) -> bool:
        """Returns whether this process has found that the labels may have changed."""
        return self.listener is not None and self.listener.has_news()

    def plan_change(self, step: int) -> None:
        """Plans the change to the newest labels after `step` steps; every process calls this when one has news."""
        change = self.backend.broadcast(self._next_change(step) if self.backend.is_main else None)
        if change is None:
            return
        self.planned = apply_change(self.planned, change)
        self.timeline.change(change.step, self.sampler())
        self.changes.append(change)
        if self.backend.is_main:
            self._write()
            say(f"step {change.step}: {_describe(change)}; {len(self.planned.labelled)} training labels")

    def sampler(self) -> Sampler:
        """Returns the sampler of the newest labels.

        In a live session that has a label for every image, labelled images are drawn instead of unlabelled ones.
        """
        sampler = self.planned.sampler(self.config)
        all_labelled = self.endless and not len(self.planned.unlabelled)
        return replace(sampler, unlabelled=self.planned.labelled) if all_labelled else sampler

    def apply_due_changes(self, step: int) -> None:
        """Applies the changes that take effect after `step` steps."""
        import torch

        for change in self.changes:
            if change.step == step:
                self.training_set = apply_change(self.training_set, change)
                self.labels.copy_(torch.from_numpy(self.training_set.labels))

    def _next_change(self, done: int) -> Change | None:
        """Returns the change to the newest labels, at a step that no process has drawn yet; None for no change."""
        assert self.listener is not None
        newest = self.listener.take()
        if newest is None:
            return None
        labels = label_changes(self.planned, newest)
        prefetched = 2 * self.config.workers if self.config.inputs == "pixels" else 0  # batches, by a DataLoader
        step = max(done + prefetched, self.changes[-1].step + 1 if self.changes else 0)
        if not labels or (step >= self.config.steps and not self.endless):
            return None
        rejected = tuple(sample for sample in rejected_samples(self.planned, newest) if sample in labels)
        change = Change(step=step, labels=labels, rejected=rejected)
        after = apply_change(self.planned, change)
        none_left = len(after.unlabelled) == 0 < len(self.planned.unlabelled) and not self.endless
        if none_left or len(after.labelled) == 0:
            say("the newest labels leave this run no labelled or no unlabelled image: it continues without them")
            return None
        return change

    def _write(self) -> None:
        """Writes the changes, then the labels: a run killed in between takes both from the changes."""
        write_json(self.path / CHANGES, [_as_json(change) for change in self.changes])
        write_labels(self.planned, self.path)


def open_live_labels(
    start: TrainingSet,
    config: TrainConfig[Any],
    path: Path,
    step: int,
    backend: "Backend",
    listener: LabelListener | None,
) -> LiveLabels:
    """Returns the labels, after `step` steps, of the run in the directory `path` that started with `start`."""
    import torch

    timeline, now, planned = SamplerTimeline(start.sampler(config)), start, start
    changes = Run(path).changes()
    for change in changes:
        planned = apply_change(planned, change)
        timeline.change(change.step, planned.sampler(config))
        now = planned if change.step <= step else now
    if changes and backend.is_main:
        write_labels(planned, path)  # the run may have been killed between the two files
    return LiveLabels(
        config=config,
        path=path,
        backend=backend,
        training_set=now,
        planned=planned,
        labels=torch.from_numpy(now.labels).to(backend.device),
        timeline=timeline,
        changes=changes,
        listener=listener,
    )


def apply_change(training_set: TrainingSet, change: Change) -> TrainingSet:
    """Returns the training set after a change. Validation labels stay held out as long as they are labels."""
    position = {sample: k for k, sample in enumerate(training_set.sample_ids)}
    index = {name: k for k, name in enumerate(training_set.classes)}
    labels = training_set.labels.copy()
    rejected = {int(k) for k in training_set.rejected}
    for sample, label in change.labels.items():
        labels[position[sample]] = -1 if label is None else index[label]
        rejected.discard(position[sample])
    rejected |= {position[sample] for sample in change.rejected}
    rejected_positions = np.array(sorted(rejected), np.int64)
    labelled = np.flatnonzero(labels >= 0)
    validation = np.intersect1d(training_set.validation, labelled)
    return replace(
        training_set,
        labels=labels,
        validation=validation,
        labelled=np.setdiff1d(labelled, validation),
        unlabelled=np.setdiff1d(np.flatnonzero(labels < 0), rejected_positions),
        rejected=rejected_positions,
    )


def label_changes(training_set: TrainingSet, newest: Labels) -> dict[str, str | None]:
    """Returns how the newest labels differ for these samples: the class, or None where there is no label any more.

    None is also for samples to which no class applies now, or did before. A run cannot learn a class that it did not
    start with: a label of such a class withdraws the sample's old one.
    """
    before = label_names(training_set)
    known = {sample: name for sample, name in newest.items() if name is not None and name in training_set.classes}
    after = {sample: known[sample] for sample in training_set.sample_ids if sample in known}
    given = {sample: name for sample, name in after.items() if before.get(sample) != name}
    were_rejected = {training_set.sample_ids[k] for k in training_set.rejected}
    changed = were_rejected ^ set(rejected_samples(training_set, newest))
    return given | {sample: None for sample in [*before, *sorted(changed)] if sample not in after}


def rejected_samples(training_set: TrainingSet, newest: Labels) -> list[str]:
    """Returns the samples to which no class applies."""
    return [sample for sample in training_set.sample_ids if sample in newest and newest[sample] is None]


def _as_json(change: Change) -> dict[str, Any]:
    rejected = {"rejected": list(change.rejected)} if change.rejected else {}
    return {"step": change.step, "labels": change.labels, **rejected}


def _describe(change: Change) -> str:
    given, rejected = sum(label is not None for label in change.labels.values()), len(change.rejected)
    withdrawn = len(change.labels) - given - rejected
    return (
        f"{given} labels came in"
        + (f", {withdrawn} were taken back" if withdrawn else "")
        + (f", {rejected} images were rejected" if rejected else "")
    )
