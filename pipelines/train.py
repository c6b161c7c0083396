"""Trains a student, by itself or under `accelerate launch pipelines/train.py PROJECT ...`.

This is the entry. `training/run_setup.py` starts or resumes a run, `training/loop.py` does its steps, and
`training/finalize.py` saves the student.
"""

import sys
from pathlib import Path

# Run as a file, Python looks in this folder first: there, no module of ours may hide an installed package.
sys.path[:] = [path for path in sys.path if Path(path).resolve() != Path(__file__).resolve().parent]

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.process.errors import exit_with_message
from gradebook.pipelines.process.progress import silence_libraries, stage
from gradebook.pipelines.runs import Run, State
from gradebook.pipelines.training import loop, run_setup, trackers
from gradebook.pipelines.training.backend import open_backend
from gradebook.pipelines.training.data_modules import open_data
from gradebook.pipelines.training.final_classifier import describe_members
from gradebook.pipelines.training.finalize import Result, finish
from gradebook.pipelines.training.presets import TrainCommand, parse_command
from gradebook.pipelines.training.shutdown import report_failure, stop_on_signal
from gradebook.storage.project import read_project

if TYPE_CHECKING:
    from gradebook.storage.store import Store


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    silence_libraries()
    with exit_with_message():
        stage("Loading what trains")
        given = sys.argv[1:] if arguments is None else arguments
        command = parse_command(given, program="gradebook train", saved=run_setup.saved_config)
        result = train(run_setup.use_embedded_backbone(command, given))
        if result is not None:
            _print(result, command)
    return 0


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
    name = run_setup.choose_run_name(command, data.project, backend)
    with report_failure(data.project.runs / name, config.steps):
        backend.check(config)
        trackers.check(config)
        state = run_setup.start_run(replace(command, config=replace(config, run=name)), data, backend)
        with stop_on_signal(state.stop):
            loop.run(state)
        return finish(state)


def _print(result: Result, command: TrainCommand[Any]) -> None:
    if command.json:
        print(json.dumps(asdict(result)))
        return
    accuracy = (
        "no label held out for validation"
        if result.validation_accuracy is None
        else f"validation accuracy {result.validation_accuracy:.1%} of {result.validation_labels} held-out labels"
    )
    print(f"{result.run} {result.state} at step {result.steps} after {result.seconds:.1f} s, {accuracy}")
    last = Run(read_project(command.project).runs / result.run).metrics()[-1:]
    if members := "".join(describe_members(row) for row in last):
        print(members)
    if result.state is State.STOPPED:
        print(f"go on with: gradebook train {command.project} --resume --run {result.run}")


if __name__ == "__main__":
    sys.exit(main())
