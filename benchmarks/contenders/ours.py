"""Gradebook's trainer, as `python pipelines/train.py` runs it."""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.contenders.clock import Clock, MeasurementDone, Task, parse_task, report_and_exit


def main() -> None:
    """Trains until the clock stops it."""
    task = parse_task(sys.argv[1:])
    from gradebook.pipelines.training import learners
    from gradebook.pipelines.training.config import TrainCommand
    from gradebook.pipelines.training.trainer import train

    clock = Clock(task)
    set_rates = learners.set_learning_rates

    def mark_and_set_rates(*args: Any) -> None:  # the trainer sets the rates once per step, when it has a batch
        clock.mark()
        set_rates(*args)

    learners.set_learning_rates = mark_and_set_rates
    with tempfile.TemporaryDirectory() as directory:
        try:
            train(TrainCommand(project=Path(directory), config=_config(task)))
        except MeasurementDone:
            report_and_exit(clock)


def _config(task: Task) -> Any:
    from gradebook.pipelines.training.presets import preset_of

    config = preset_of("cifar10_4k", task.method)
    settings = config.settings
    if task.method == "mpl":
        settings = replace(settings, feedback=task.feedback)
    return replace(
        config,
        settings=settings,
        labelled=task.labelled,
        unlabelled=task.labelled * task.mu,
        steps=100_000,
        precision=task.precision,
    )


if __name__ == "__main__":
    main()
