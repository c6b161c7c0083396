"""The command line of a training: `gradebook train`, and `accelerate launch pipelines/train.py`.

It is parsed here and not with the other subcommands, because preset and method decide which options there are.
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gradebook.pipelines.process.errors import exit_with_message
from gradebook.pipelines.process.launched import stop_with_launcher
from gradebook.pipelines.process.progress import silence_libraries, stage
from gradebook.pipelines.process.run_status import State
from gradebook.pipelines.process.terminal import prepare_streams
from gradebook.pipelines.runs import Run
from gradebook.pipelines.training import run_setup
from gradebook.pipelines.training.config import ConfigError, TrainCommand, differences
from gradebook.pipelines.training.final_classifier import describe_members
from gradebook.pipelines.training.finalize import Result
from gradebook.pipelines.training.presets import config_from_json, preset_of
from gradebook.pipelines.training.trainer import train
from gradebook.storage.project import read_project


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    prepare_streams()
    silence_libraries()
    stop_with_launcher()
    with exit_with_message():
        stage("Loading what trains")
        given = sys.argv[1:] if arguments is None else arguments
        command = parse_command(given, program="gradebook train", saved=run_setup.saved_config)
        is_named = any(argument.partition("=")[0] == "--backbone" for argument in given)
        result = train(run_setup.use_embedded_backbone(command, is_named=is_named))
        if result is not None:
            _print(result, command)
    return 0


def parse_command(
    arguments: Sequence[str], *, program: str, saved: Callable[[Path, str], dict[str, Any]]
) -> TrainCommand[Any]:
    """Reads the command line of a training: preset and method first, since they decide which options there are.

    Args:
        arguments: without the program's name.
        program: what to call it in the help.
        saved: (project, run's name or "") -> the config that `--resume` continues with.

    Raises:
        ConfigError: an impossible setting, or `--resume` with another setting than the run's own.
    """
    import tyro

    stored = None
    if "--resume" in arguments and not {"--help", "-h"} & set(arguments):
        if arguments[0].startswith("-"):
            raise ConfigError(f"give the project first: {program} PROJECT --resume")
        stored = config_from_json(saved(Path(arguments[0]), _value(arguments, "--run") or ""))
    method = _value(arguments, "--method") or (stored.method if stored else "mpl")
    preset = _value(arguments, "--preset") or (stored.preset if stored else "quick")
    start = stored if stored and stored.method == method else preset_of(preset, method)
    generic: Any = TrainCommand
    call: TrainCommand[Any] = tyro.cli(
        generic[type(start.settings)],
        args=arguments,
        prog=program,
        default=TrainCommand(project=tyro.MISSING, config=start),
    )
    if stored and call.config != stored:
        raise ConfigError(
            f"--resume continues with the run's own settings ({'; '.join(differences(stored, call.config))}): "
            "leave the others out, or start a new run"
        )
    return call


def _value(arguments: Sequence[str], flag: str) -> str | None:
    """Returns what the command line gives for a flag, as `--flag x` or `--flag=x`."""
    for position, argument in enumerate(arguments):
        if argument == flag and position + 1 < len(arguments):
            return arguments[position + 1]
        if argument.startswith(f"{flag}="):
            return argument.split("=", 1)[1]
    return None


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
        print(f"resume it with: gradebook train {command.project} --resume --run {result.run}")
