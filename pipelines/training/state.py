"""One run in one process: what it consists of while it goes on, and what it tells others of itself."""

import math
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradebook.pipelines import runs
from gradebook.pipelines.runs import State
from gradebook.pipelines.training import checkpoints, dataset, finalize, trackers
from gradebook.pipelines.training.config import ConfigError, TrainConfig
from gradebook.pipelines.training.live_labels import LiveLabels
from gradebook.pipelines.training.recorder import Recorder

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor

    from gradebook.mpl.step import Learners, StepReport
    from gradebook.mpl.step_timer import Stopwatch


@dataclass(slots=True, kw_only=True)
class TrainState:
    """One run, in one process."""

    config: TrainConfig[Any]
    path: Path  # the run's directory
    accelerator: "Accelerator"
    live: LiveLabels  # its samples and labels, and what people say of them while it trains
    source: dataset.InputSource
    hosts: Any  # the processes' group on the CPU; None of one process
    learners: "Learners"
    recorder: Recorder
    stopwatch: "Stopwatch"
    done: int  # steps
    timed: int = 0  # steps done when the stopwatch was last read
    began: float = field(default_factory=time.perf_counter)  # seconds
    began_at: int = 0  # steps done when this process began
    accuracy: float | None = None  # the newest on the validation labels
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def training_set(self) -> dataset.TrainingSet:
        """The samples and their labels at this step."""
        return self.live.training_set


def log_metrics(t: TrainState, report: "StepReport", samples: "Tensor") -> None:
    """Adds a row to the metrics, means over the processes: the loop's only wait for the device.

    Raises:
        ConfigError: a number is none any more.
    """
    import torch

    found = report.scalars | finalize.pseudo_label_accuracy(t.training_set, report.opinions, samples)
    mean = t.accelerator.reduce(torch.stack([value.float() for value in found.values()]), "mean")
    scalars = dict(zip(found, mean.tolist(), strict=True))
    phases = _phases(t)
    fail_if_not_finite(t, [name for name, value in scalars.items() if not math.isfinite(value)])
    if t.accelerator.is_main_process:
        seconds = time.perf_counter() - t.began
        row: dict[str, Any] = {"step": t.done, "seconds": seconds, **scalars}
        row |= {"images_per_second": images_per_second(t), "phases": phases}
        runs.append_metrics(t.path, row)
        trackers.log_row(t.accelerator, row)
        update_status(t, State.RUNNING)


def _phases(t: TrainState) -> dict[str, float]:
    """Returns the seconds a step of each phase, on average since the last row; the device has done all of it by now."""
    steps, t.timed = max(t.done - max(t.timed, t.began_at), 1), t.done
    return {phase: round(seconds / steps, 6) for phase, seconds in t.stopwatch.seconds().items()}


def validate(t: TrainState, net: Any) -> None:
    """Measures a network on the validation labels, if there are any, and adds that to the metrics."""
    t.accuracy = finalize.validation_accuracy(net, t.source, t.training_set)
    if t.accuracy is not None:
        row = {"step": t.done, "validation_accuracy": t.accuracy}
        runs.append_metrics(t.path, row)
        trackers.log_row(t.accelerator, row)


def fail_if_not_finite(t: TrainState, bad: list[str]) -> None:
    """Ends the run where something is not a number any more, so that no checkpoint keeps it.

    Raises:
        ConfigError: `bad` names something.
    """
    if bad:
        kept = checkpoints.newest_step(t.path / "checkpoints")
        raise ConfigError(
            f"{', '.join(bad)} is not a number any more at step {t.done}: lower the learning rate "
            f"(--student.lr, --teacher.lr) in a new run" + (f"; the checkpoint of step {kept} is kept" if kept else "")
        )


def update_status(t: TrainState, state: State) -> None:
    """Writes the run's status."""
    if t.accelerator.is_main_process:
        status = runs.status_now(
            state, pid=os.getpid(), step=t.done, steps=t.config.steps, images_per_second=images_per_second(t)
        )
        runs.write_status(t.path, status)


def images_per_second(t: TrainState) -> float:
    """Returns how many images a second this process has learned from."""
    images = (t.done - t.began_at) * (t.config.labelled + t.config.unlabelled)
    return round(images / max(time.perf_counter() - t.began, 1e-9), 1)
