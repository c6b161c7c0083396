"""The state of a run in one process, and what it writes about itself: metrics, validation accuracy, status."""

import math
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradebook.pipelines import runs
from gradebook.pipelines.process.run_status import State, status_now, write_status
from gradebook.pipelines.training import checkpoints, evaluation, fsdp, trackers
from gradebook.pipelines.training.backend import Backend
from gradebook.pipelines.training.config import ConfigError, TrainConfig
from gradebook.pipelines.training.dataset import InputSource, TrainingSet
from gradebook.pipelines.training.live_labels import LiveLabels
from gradebook.pipelines.training.recorder import Recorder

if TYPE_CHECKING:
    from torch import Tensor, nn

    from gradebook.mpl.step import Learners, StepReport
    from gradebook.mpl.step_timer import StepTimer


@dataclass(slots=True, kw_only=True)
class TrainState:
    """One run, in one process."""

    config: TrainConfig[Any]
    path: Path  # the run's directory
    backend: Backend
    live: LiveLabels  # the training set, and the labels that arrive during training
    inputs: InputSource
    learners: "Learners"
    recorder: Recorder
    stopwatch: "StepTimer"
    step: int  # steps done
    planned: int | None = None  # steps that the status names, where they are not the config's
    first_step: int = field(init=False)  # steps done when this process started
    timed_step: int = field(init=False)  # steps done when the stopwatch was last read
    started: float = field(default_factory=time.perf_counter)  # seconds
    accuracy: float | None = None  # the newest validation accuracy
    stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.first_step = self.timed_step = self.step

    @property
    def training_set(self) -> TrainingSet:
        """The samples and their labels at this step."""
        return self.live.training_set


def log_metrics(state: TrainState, report: "StepReport", samples: "Tensor") -> None:
    """Adds a row to the metrics, means over the processes. This is the loop's only wait for the device.

    Raises:
        ConfigError: a value is not finite.
    """
    import torch

    values = report.scalars | evaluation.pseudo_label_accuracy(state.training_set, report.predictions, samples)
    mean = state.backend.mean(torch.stack([value.float() for value in values.values()]))
    scalars = dict(zip(values, mean.tolist(), strict=True))
    phases = _seconds_per_phase(state)
    fail_if_not_finite(state, [name for name, value in scalars.items() if not math.isfinite(value)])
    if state.backend.is_main:
        seconds = time.perf_counter() - state.started
        row: dict[str, Any] = {"step": state.step, "seconds": seconds, **scalars}
        _append(state, row | {"images_per_second": images_per_second(state), "phases": phases})
        update_status(state, State.RUNNING)


def validate(state: TrainState, net: "nn.Module", teacher: "nn.Module | None" = None) -> None:
    """Measures the validation accuracy of a network, if there are validation labels, and adds it to the metrics.

    The teacher's is only added beside it.
    """
    accuracy = evaluation.validation_accuracy(net, state.inputs, state.training_set)
    if accuracy is not None:
        nets = {} if teacher is None else {"teacher_validation_accuracy": teacher}
        beside = {k: evaluation.validation_accuracy(v, state.inputs, state.training_set) for k, v in nets.items()}
        log_accuracy(state, accuracy, beside)


def log_accuracy(state: TrainState, accuracy: float, more: Mapping[str, Any] | None = None) -> None:
    """Adds an accuracy on held-out labels to the metrics, and what else is known of it."""
    state.accuracy = accuracy
    _append(state, {"step": state.step, "validation_accuracy": accuracy, **(more or {})})


def full_network(state: TrainState, net: "nn.Module", backbone: str = "") -> "nn.Module":
    """Returns a network with all its weights, gathered by all processes where they are sharded.

    Args:
        state: the run.
        net: one of its networks.
        backbone: the network's timm model where it is not the student's.
    """
    classes, size = len(state.training_set.classes), state.config.size
    return fsdp.gathered(net, backbone or state.config.backbone, classes, size)


def full_teacher(state: TrainState) -> "nn.Module | None":
    """Returns the teacher with all its weights, None for a method without one."""
    teacher = state.learners.teacher
    return None if teacher is None else full_network(state, teacher.best_net(), state.config.teacher_backbone)


def fail_if_not_finite(state: TrainState, names: list[str]) -> None:
    """Ends the run where a value is not finite, so that no checkpoint keeps it.

    Raises:
        ConfigError: `names` names a value.
    """
    if names:
        saved = checkpoints.newest_step(state.path / "checkpoints")
        raise ConfigError(
            f"{', '.join(names)} is not a number any more at step {state.step}: lower the learning rate "
            f"(--student.lr, --teacher.lr) in a new run"
            + (f"; the checkpoint of step {saved} is kept" if saved else "")
        )


def update_status(state: TrainState, to: State) -> None:
    """Writes the run's status."""
    if state.backend.is_main:
        speed = images_per_second(state)
        planned = state.config.steps if state.planned is None else state.planned
        status = status_now(to, pid=os.getpid(), step=state.step, steps=planned, images_per_second=speed)
        write_status(state.path, status)


def images_per_second(state: TrainState) -> float:
    """Returns how many images a second the run has trained on since this process started."""
    images = (state.step - state.first_step) * (state.config.labelled + state.config.unlabelled)
    return round(images / max(time.perf_counter() - state.started, 1e-9), 1)


def _append(state: TrainState, row: dict[str, Any]) -> None:
    runs.append_metrics(state.path, row)
    trackers.log_row(state.backend.accelerator, row)


def _seconds_per_phase(state: TrainState) -> dict[str, float]:
    """Returns the mean seconds of each phase of a step since the last call; the device has finished them all."""
    steps, state.timed_step = max(state.step - state.timed_step, 1), state.step
    return {phase: round(seconds / steps, 6) for phase, seconds in state.stopwatch.seconds().items()}
