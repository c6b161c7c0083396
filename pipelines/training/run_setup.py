"""How a run begins: its name, its directory, and what a person is told; and how a stopped one is found again."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradebook.pipelines import runs
from gradebook.pipelines.process.progress import say
from gradebook.pipelines.runs import State
from gradebook.pipelines.training import dataset
from gradebook.pipelines.training.config import ConfigError, TrainConfig, as_json
from gradebook.pipelines.training.presets import TrainCommand
from gradebook.storage.files import write_json
from gradebook.storage.project import Project, read_project

if TYPE_CHECKING:
    from accelerate import Accelerator


def choose_run_name(call: TrainCommand[Any], project: Project, accelerator: "Accelerator") -> str:
    """Returns the run's name, the same on every process.

    Raises:
        ConfigError: a new run is to have the name of another.
    """
    from accelerate.utils import broadcast_object_list

    config = call.config
    name = config.run or runs.new_run_name(project, config.method)
    if not call.resume and (project.runs / name / runs.CONFIG).exists():
        raise ConfigError(f"there is a run {name!r} already: go on with it by --resume, or choose another --run")
    if accelerator.num_processes > 1:
        name = broadcast_object_list([name])[0]
    return name


def use_embedded_backbone(call: TrainCommand[Any], arguments: Sequence[str]) -> TrainCommand[Any]:
    """Returns the call with the backbone that the project has vectors of, where the command line names none."""
    config = call.config
    named = any(argument.partition("=")[0] == "--backbone" for argument in arguments)
    if named or call.resume or config.inputs == "pixels" or config.data.kind != "project":
        return call
    from gradebook.storage.store import open_store

    backbone = dataset.embedded_backbone(open_store(call.project), config.backbone)
    return replace(call, config=replace(config, backbone=backbone))


def create_run_directory(
    path: Path, config: TrainConfig[Any], training_set: dataset.TrainingSet, accelerator: "Accelerator"
) -> None:
    """Makes the run's directory with what it begins with; the settings come last, so a run that has them is whole."""
    path.mkdir(parents=True, exist_ok=True)
    runs.write_status(path, runs.status_now(State.STARTING, pid=os.getpid(), step=0, steps=config.steps))
    dataset.save_training_set(training_set, path)
    about = {
        "classes": training_set.classes,
        "device": str(accelerator.device),
        "processes": accelerator.num_processes,
    }
    write_json(path / runs.CONFIG, as_json(config) | about, indent=2)


def print_summary(
    config: TrainConfig[Any], training_set: dataset.TrainingSet, accelerator: "Accelerator", done: int
) -> None:
    """Says what is going to be learned from what."""
    count = {None: "", 1: " (the plain view alone)"}.get(training_set.views, f" ({training_set.views} of each image)")
    fed = f"cached views of {config.backbone}{count}" if config.inputs == "views" else f"images at {config.size} px"
    processes = "1 process" if accelerator.num_processes == 1 else f"{accelerator.num_processes} processes"
    say(
        f"{config.run}: {config.method} on {fed}; {len(training_set.labelled)} labels to learn from, "
        f"{len(training_set.validation)} held out, {len(training_set.unlabelled)} images without; "
        f"{processes} on {accelerator.device}, precision {config.precision}"
        + (f"; goes on from step {done}" if done else "")
    )
    missing = dataset.missing_classes(training_set)
    if missing:
        say(f"no training label says {', '.join(missing)}: the student cannot learn what nobody showed it")


def check_processes(config: TrainConfig[Any], processes: int) -> None:
    """Checks that the processes work together and can share the batches out evenly.

    Raises:
        ConfigError: they cannot.
    """
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if launched != processes:
        raise ConfigError(
            f"{launched} processes were launched, but each would train alone: "
            "where there is no GPU, set ACCELERATE_USE_CPU=true and launch again"
        )
    batches = {name: getattr(config, name) for name in ("labelled", "unlabelled", "finetune_labelled")}
    for name, batch in batches.items():
        if batch % processes:
            raise ConfigError(f"{name}={batch} does not divide by {processes} processes: choose a multiple")


def saved_config(project: Path, name: str) -> dict[str, Any]:
    """Returns the settings of the run to resume: the one of that name, else the newest that has not finished."""
    opened = read_project(project)
    if name:
        return runs.find_run(opened, name).config()
    begun = [run for run in runs.list_runs(opened) if (run.path / runs.CONFIG).exists()]
    unfinished = [run for run in begun if run.status().state is not State.FINISHED]
    if not unfinished:
        raise ConfigError(f"{opened.root} has no run that stopped before its end: start a new one without --resume")
    return unfinished[-1].config()
