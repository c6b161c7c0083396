"""How a run starts or resumes: its name, its directory, and the state that the loop moves."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradebook.pipelines import runs
from gradebook.pipelines.process.errors import describe
from gradebook.pipelines.process.owner import owned
from gradebook.pipelines.process.pids import ProcessId, this_process
from gradebook.pipelines.process.progress import say, stage
from gradebook.pipelines.process.run_status import State, status_now, write_status
from gradebook.pipelines.training import checkpoints, dataset, learners, trackers
from gradebook.pipelines.training.backend import Backend
from gradebook.pipelines.training.cached_views import embedded_backbone
from gradebook.pipelines.training.config import ConfigError, TrainCommand, TrainConfig
from gradebook.pipelines.training.data_modules import DataModule
from gradebook.pipelines.training.dataset import TrainingSet
from gradebook.pipelines.training.live_labels import open_live_labels
from gradebook.pipelines.training.precomputed_teacher import load_distributions
from gradebook.pipelines.training.record_upload import owned_addresses, run_address, start_upload, truncate_record
from gradebook.pipelines.training.recorder import Recorder
from gradebook.pipelines.training.state import TrainState
from gradebook.storage.checksums import write_json
from gradebook.storage.project import Project, ProjectError, read_project
from gradebook.storage.run_classes import AS_OF, run_classes
from gradebook.storage.segments import delete_segments_after

if TYPE_CHECKING:
    from gradebook.mpl.step import Learners


@contextmanager
def own_run(command: TrainCommand[Any], project: Project, backend: Backend) -> Iterator[str]:
    """Yields the run's name, the same on every process, and lets nobody else train it while the block runs.

    Raises:
        ConfigError: another process trains it, or the command starts a run and asks for a name that is taken.
    """
    processes = backend.gather(this_process())
    name, refusal = "", ""
    with ExitStack() as until_the_end:
        if backend.is_main:
            try:
                name = until_the_end.enter_context(_owned_name(command, project, processes))
            except (ProjectError, OSError) as error:  # the other processes must not wait for this one
                refusal = describe(error) or str(error)
        name, refusal = backend.broadcast((name, refusal))
        if refusal:
            raise ConfigError(refusal)
        yield name


@contextmanager
def _owned_name(command: TrainCommand[Any], project: Project, processes: Sequence[ProcessId]) -> Iterator[str]:
    name = command.config.run or _reserve_name(project, command.config.method)
    at_addresses = owned_addresses(project, command.config.record, name, processes)
    with owned(project.runs / name, processes), at_addresses:
        if not command.resume and (project.runs / name / runs.CONFIG).exists():
            raise ConfigError(f"there is a run {name!r} already: resume it with --resume, or choose another --run")
        yield name


def _reserve_name(project: Project, method: str) -> str:
    """Returns an unused name whose directory exists from now on, so that runs that start at once get different ones."""
    while True:
        name = runs.new_run_name(project, method)
        try:
            (project.runs / name).mkdir(parents=True)
        except FileExistsError:
            continue
        return name


def use_embedded_backbone(command: TrainCommand[Any], *, is_named: bool) -> TrainCommand[Any]:
    """Returns the command with a backbone that the project has vectors of, unless the user has named one."""
    config = command.config
    if is_named or command.resume or config.inputs == "pixels" or config.data.kind != "project":
        return command
    from gradebook.storage.store import open_store

    backbone = embedded_backbone(open_store(command.project), config.backbone)
    return replace(command, config=replace(config, backbone=backbone))


def saved_config(project: Path, name: str) -> dict[str, Any]:
    """Returns the settings of the run to resume: the one of that name, else the newest that has not finished."""
    opened = read_project(project)
    if name:
        run = runs.find_run(opened, name)
        if run.is_session:
            raise ConfigError(f"{name} is the run of a live session: resume it with: gradebook session {opened.root}")
        return _config_of(run, opened)
    started = [run for run in runs.list_runs(opened) if (run.path / runs.CONFIG).exists() and not run.is_session]
    unfinished = [run for run in started if run.status().state is not State.FINISHED]
    if not unfinished:
        raise ConfigError(f"{opened.root} has no run that stopped before its end: start a new one without --resume")
    return _config_of(unfinished[-1], opened)


def _config_of(run: runs.Run, project: Project) -> dict[str, Any]:
    """Returns a run's settings; its name is its directory's, whatever the file says.

    Raises:
        ConfigError: one of its classes was renamed, merged, split or removed since.
    """
    config = run.config()
    known = run_classes(config, project.history)
    if known.have_changed:
        raise ConfigError(f"{run.name} cannot be resumed: {known.describe()}. Train a new run instead")
    return config | {"run": run.name} if config else config


def start_run(command: TrainCommand[Any], data: DataModule, backend: Backend) -> TrainState:
    """Makes everything that a run consists of: a new run's, or a stopped one's as its newest checkpoint has it.

    Args:
        command: with the run's name in its config.
        data: supplies the samples and the networks' inputs.
        backend: checked for this config.

    Raises:
        ConfigError: the data, the networks or the checkpoint do not allow it.
    """
    from gradebook.mpl.step_timer import StepTimer

    config, path, device = command.config, data.project.runs / command.config.run, backend.device
    training_set = data.training_set()
    inputs = data.inputs(training_set, device)
    step = _step_to_resume(path, backend) if command.resume else 0
    stage("Making the networks")
    initial_model = None if step else data.initial_model()
    made = learners.build(config, training_set, inputs, device, initial_model)
    if not step:
        made.memory |= load_distributions(config, training_set, path.parent, device)
    if backend.is_main:
        _prepare_directory(command, data, training_set, backend, step)
    backend.accelerator.wait_for_everyone()
    if step:
        restore(path, step, made, config.seed, backend)
    trackers.start(config, data.project.root.name, path, backend.accelerator)
    listener = data.label_listener() if config.live and backend.is_main else None
    return TrainState(
        config=config,
        path=path,
        backend=backend,
        live=open_live_labels(training_set, config, path, step, backend, listener),
        inputs=inputs,
        learners=made,
        recorder=_open_recorder(config, path, training_set, backend.process),
        stopwatch=StepTimer(device),
        step=step,
    )


def restore(path: Path, step: int, made: "Learners", seed: int, backend: Backend) -> None:
    """Loads the checkpoint of `step` into the learners of the run in the directory `path`."""
    processes = backend.processes
    saved_by = checkpoints.load(
        path / "checkpoints", step, made, process=backend.process, processes=processes, seed=seed
    )
    if backend.is_main and saved_by != processes:
        say(f"{saved_by} processes started the run and {processes} resume it: equivalent, but not bit for bit")


def create_run_directory(path: Path, config: TrainConfig[Any], training_set: TrainingSet, backend: Backend) -> None:
    """Creates a run's directory and its first files; the settings come last, so a run that has them is complete."""
    path.mkdir(parents=True, exist_ok=True)
    write_status(path, status_now(State.STARTING, pid=os.getpid(), step=0, steps=config.steps))
    dataset.save_training_set(training_set, path)
    about = {"classes": training_set.classes, "device": str(backend.device), "processes": backend.processes}
    as_of = {} if training_set.classes_as_of is None else {AS_OF: training_set.classes_as_of}
    write_json(path / runs.CONFIG, asdict(config) | about | as_of, indent=2)


def print_summary(config: TrainConfig[Any], training_set: TrainingSet, backend: Backend, step: int) -> None:
    """Prints what the run learns from, on which device, and which classes have no training label."""
    views = {None: "", 1: " (the plain view alone)"}.get(training_set.views, f" ({training_set.views} of each image)")
    inputs = f"cached views of {config.backbone}{views}" if config.inputs == "views" else f"images at {config.size} px"
    processes = "1 process" if backend.processes == 1 else f"{backend.processes} processes"
    say(
        f"{config.run}: {config.method} on {inputs}; {len(training_set.labelled)} training labels, "
        f"{len(training_set.validation)} held out, {len(training_set.unlabelled)} unlabelled images; "
        f"{processes} on {backend.device}, precision {config.precision}" + (f"; resumes at step {step}" if step else "")
    )
    missing = dataset.missing_classes(training_set)
    if missing:
        say(f"the student cannot learn the classes without a training label: {', '.join(missing)}")


def _step_to_resume(path: Path, backend: Backend) -> int:
    """Returns the step of the newest intact checkpoint, 0 if there is none; reports those that are damaged."""
    if backend.is_main:
        for message in checkpoints.quarantine_damaged(path / "checkpoints"):
            say(message)
    backend.accelerator.wait_for_everyone()
    return checkpoints.newest_step(path / "checkpoints")


def _prepare_directory(
    command: TrainCommand[Any], data: DataModule, training_set: TrainingSet, backend: Backend, step: int
) -> None:
    """Makes the directory of a new run; of a resumed one, removes what it recorded after its checkpoint."""
    config, path = command.config, data.project.runs / command.config.run
    if not command.resume:
        create_run_directory(path, config, training_set, backend)
        data.drop_record(config.run)
    if command.resume and config.record:
        truncate_record(path / "record", run_address(config.record, path.name), step)
    else:
        delete_segments_after(path / "record", step)
    print_summary(config, training_set, backend, step)


def _open_recorder(config: TrainConfig[Any], path: Path, training_set: TrainingSet, process: int) -> Recorder:
    upload = start_upload(config.record, path, process)
    return Recorder(path / "record", training_set.classes, training_set.sample_ids, process=process, upload=upload)
