"""Trains a run from its start, or from its newest checkpoint, to its end.

`run_setup.py` starts or resumes it, `loop.py` does its steps, and `finalize.py` saves the student.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.process.progress import stage
from gradebook.pipelines.training import loop, run_setup, trackers
from gradebook.pipelines.training.backend import open_backend
from gradebook.pipelines.training.config import TrainCommand
from gradebook.pipelines.training.data_modules import open_data
from gradebook.pipelines.training.finalize import Result, finish
from gradebook.pipelines.training.shutdown import report_failure, stop_on_signal

if TYPE_CHECKING:
    from gradebook.storage.store import Store


def train(command: TrainCommand[Any], store: "Store | None" = None) -> Result | None:
    """Trains, in this process or as one of several; the main process returns the result.

    Args:
        command: what to train, and how.
        store: of the project, where it is open already.

    Raises:
        ConfigError: the project or the settings do not allow it; the message says why.
    """
    config = command.config
    backend = open_backend(config)
    stage("Opening the images and their labels")
    with backend.accelerator.main_process_first():  # one process makes or downloads what is not there yet
        data = open_data(command, store)
    with (
        run_setup.own_run(command, data.project, backend) as name,
        report_failure(data.project.runs / name, config.steps),
    ):
        backend.check(config)
        trackers.check(config)
        state = run_setup.start_run(replace(command, config=replace(config, run=name)), data, backend)
        with stop_on_signal(state.stop):
            loop.run(state)
        return finish(state)
