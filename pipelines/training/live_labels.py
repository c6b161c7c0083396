"""Labels that people give while a run trains: heard by its main process, taken in by all at the same step.

A change is written into the run's directory before the step at which it takes effect (changes.json; labels.json has all
labels read so far), so that a resumed run takes it in at that step again. It takes effect some steps after it was heard
where batches are drawn ahead by the processes that decode images.
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
from gradebook.pipelines.training.sampler import SamplerTimeline
from gradebook.storage.files import write_json

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor

POLL_INTERVAL_S = 1.0  # seconds between two looks at the log

Labels = Mapping[str, str | None]  # sample_id -> class name, None where no class applies
Answer = TypeVar("Answer")


class LabelListener:
    """Looks now and then, between two steps, whether the labels may be others than before."""

    def __init__(self, version: Callable[[], int], labels: Callable[[], Labels], *, every: float = POLL_INTERVAL_S):
        self._version = version
        self._labels = labels
        self._every = every
        self._seen = -1
        self._next = 0.0  # when to look again, seconds
        self._failed = False

    def waiting(self) -> bool:
        """Tells whether there may be labels to take; False between two looks."""
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + self._every
        return self._asked(self._version, self._seen) != self._seen

    def take(self) -> Labels | None:
        """Returns the newest labels, all of them; None where they cannot be read at the moment."""
        version = self._asked(self._version, self._seen)
        labels = self._asked(self._labels, None)
        self._seen = self._seen if labels is None else version
        return labels

    def _asked(self, what: Callable[[], Answer], otherwise: Answer) -> Answer:
        try:
            answer = what()
        except Exception as error:  # whatever a database raises: the training needs none
            if not self._failed:
                say(f"the labels cannot be read at the moment ({error}): this run goes on with those that it has")
            self._failed = True
            return otherwise
        self._failed = False
        return answer


@dataclass(slots=True, kw_only=True)
class LiveLabels:
    """A run's samples and labels as they change."""

    training_set: TrainingSet  # at the step at hand
    ahead: TrainingSet  # after all changes that are known
    labels: "Tensor"  # (N,) of `training_set`, on the device; the source of batches looks at it
    deck: SamplerTimeline
    changes: list[Change]  # in order of steps
    listener: LabelListener | None = None  # in the main process of a run in a project


def open_live_labels(
    start: TrainingSet,
    config: TrainConfig[Any],
    path: Path,
    done: int,
    accelerator: "Accelerator",
    listener: LabelListener | None,
) -> LiveLabels:
    """Returns the state after `done` steps of a run that began with `start` and has the directory `path`."""
    import torch

    deck, now, ahead = SamplerTimeline(start.sampler(config)), start, start
    changes = Run(path).changes()
    for change in changes:
        ahead = apply_change(ahead, change)
        deck.change(change.step, ahead.sampler(config))
        now = ahead if change.step <= done else now
    if changes and accelerator.is_main_process:
        write_labels(ahead, path)  # a kill may have come between the two files
    labels = torch.from_numpy(now.labels).to(accelerator.device)
    return LiveLabels(training_set=now, ahead=ahead, labels=labels, deck=deck, changes=changes, listener=listener)


def plan_change(live: LiveLabels, config: TrainConfig[Any], path: Path, done: int, accelerator: "Accelerator") -> None:
    """Plans the change that the newest labels make; every process calls this when the main one has heard some."""
    from accelerate.utils import broadcast_object_list

    plan = [_planned(live, config, done) if accelerator.is_main_process else None]
    if accelerator.num_processes > 1:
        broadcast_object_list(plan)
    change = plan[0]
    if change is None:
        return
    live.ahead = apply_change(live.ahead, change)
    live.deck.change(change.step, live.ahead.sampler(config))
    live.changes.append(change)
    if accelerator.is_main_process:
        _write(live, path)
        say(f"step {change.step}: {_in_words(change)}; {len(live.ahead.labelled)} labels to learn from")


def apply_due_changes(live: LiveLabels, done: int) -> None:
    """Makes the changes that take effect before the step number `done`."""
    import torch

    for change in live.changes:
        if change.step == done:
            live.training_set = apply_change(live.training_set, change)
            live.labels.copy_(torch.from_numpy(live.training_set.labels))


def apply_change(training_set: TrainingSet, change: Change) -> TrainingSet:
    """Returns the training set after a change. Held-out labels stay held out as long as they are labels."""
    position = {sample: k for k, sample in enumerate(training_set.sample_ids)}
    index = {name: k for k, name in enumerate(training_set.classes)}
    labels = training_set.labels.copy()
    rejected = {int(k) for k in training_set.rejected}
    for sample, label in change.labels.items():
        labels[position[sample]] = -1 if label is None else index[label]
        rejected.discard(position[sample])
    rejected |= {position[sample] for sample in change.rejected}
    out = np.array(sorted(rejected), np.int64)
    known = np.flatnonzero(labels >= 0)
    validation = np.intersect1d(training_set.validation, known)
    return replace(
        training_set,
        labels=labels,
        validation=validation,
        labelled=np.setdiff1d(known, validation),
        unlabelled=np.setdiff1d(np.flatnonzero(labels < 0), out),
        rejected=out,
    )


def label_changes(training_set: TrainingSet, now: Labels) -> dict[str, str | None]:
    """Returns what changes for these samples: the class, or None where there is no label any more.

    None is also for samples to which no class applies now, or did before. A class that the run does not know cannot be
    learned by it: such a label takes the old one away, and adds nothing.
    """
    before = label_names(training_set)
    known = {sample: name for sample, name in now.items() if name is not None and name in training_set.classes}
    new = {sample: known[sample] for sample in training_set.sample_ids if sample in known}
    told = {sample: name for sample, name in new.items() if before.get(sample) != name}
    was_rejected = {training_set.sample_ids[k] for k in training_set.rejected}
    answered = was_rejected ^ set(rejected_samples(training_set, now))
    return told | {sample: None for sample in [*before, *sorted(answered)] if sample not in new}


def rejected_samples(training_set: TrainingSet, now: Labels) -> list[str]:
    """Returns those of the samples to which no class applies."""
    return [sample for sample in training_set.sample_ids if sample in now and now[sample] is None]


def _planned(live: LiveLabels, config: TrainConfig[Any], done: int) -> Change | None:
    """Returns the change that the newest labels make, at a step that no process has drawn yet; None for no change."""
    assert live.listener is not None
    newest = live.listener.take()
    labels = {} if newest is None else label_changes(live.ahead, newest)
    ahead = 2 * config.workers if config.inputs == "pixels" else 0  # batches that a DataLoader asks for in advance
    step = max(done + ahead, live.changes[-1].step + 1 if live.changes else 0)
    if not labels or step >= config.steps:
        return None
    rejected = [] if newest is None else rejected_samples(live.ahead, newest)
    change = Change(step=step, labels=labels, rejected=tuple(i for i in rejected if i in labels))
    after = apply_change(live.ahead, change)
    if len(after.unlabelled) == 0 < len(live.ahead.unlabelled) or len(after.labelled) == 0:
        say("the newest labels leave this run no image without a label, or none with one: it goes on without them")
        return None
    return change


def _write(live: LiveLabels, path: Path) -> None:
    """Writes the changes, then the labels: a run killed between the two reads both from the first."""
    write_json(path / CHANGES, [_as_json(change) for change in live.changes])
    write_labels(live.ahead, path)


def _as_json(change: Change) -> dict[str, Any]:
    rejected = {"rejected": list(change.rejected)} if change.rejected else {}
    return {"step": change.step, "labels": change.labels, **rejected}


def _in_words(change: Change) -> str:
    given = sum(label is not None for label in change.labels.values())
    rejected = len(change.rejected)
    gone = len(change.labels) - given - rejected
    return (
        f"{given} labels came in"
        + (f", {gone} were taken back" if gone else "")
        + (f", {rejected} images were answered with no class" if rejected else "")
    )
