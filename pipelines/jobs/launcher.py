"""Background jobs: processes that outlive the one that started them. All information on a job is in its directory.

    job.json   the command, the process id, its start time, and the restart of the machine that it belongs to
    log.txt    the output, errors included
    exit       the exit status, once the job has ended

and, of gradebook's own commands, progress.json and answer.json (`gradebook.pipelines.process.job_files`).

A training's directory is its run's; any other job gets `jobs/NUMBER` of the project.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from filelock import FileLock

from gradebook.pipelines.process import job_files, supervisor
from gradebook.pipelines.process.owner import check_unowned
from gradebook.pipelines.process.pids import ProcessId, boot_id, group_with_variable, send_signal
from gradebook.pipelines.process.run_status import ACTIVE_STATES, State, status_now, write_status
from gradebook.pipelines.runs import LOG, Run, list_runs, new_run_name
from gradebook.storage.files import write_json
from gradebook.storage.project import Project, ProjectError
from gradebook.storage.system import check_system

JOB = "job.json"
EXIT = "exit"
START_LOCK = ".start.lock"
TRAIN = Path(supervisor.__file__).parents[1] / "train.py"


_children: dict[int, "subprocess.Popen[bytes]"] = {}  # the supervisors that this process started


class JobState(StrEnum):
    """The state of a job."""

    RUNNING = "going"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Job:
    """A process group: the supervisor, which leads it, the command, and the command's own children.

    Only processes that carry the job's directory in their environment belong to it, whatever `job.json` says.
    """

    path: Path  # its directory
    command: tuple[str, ...]
    pid: int  # of the supervisor, and so of the group
    started: datetime  # UTC
    boot: str = ""  # `gradebook.pipelines.process.pids.boot_id` of its machine; empty in an old file

    @property
    def log(self) -> Path:
        """The file with the job's output."""
        return self.path / LOG


def start(project: Project, command: Sequence[str], *, path: Path | None = None) -> Job:
    """Starts a command in a session of its own, which neither Ctrl-C here nor the end of this process stops.

    Args:
        project: of the job.
        command: the program and its arguments, no shell.
        path: an existing directory for the job's files instead of the next `jobs/NUMBER`.

    Raises:
        ProjectError: this is Windows, which has no sessions.
    """
    _check_system()
    path = path or _new_directory(project.root / "jobs")
    for name in (EXIT, job_files.PROGRESS):  # of the training that this one resumes
        (path / name).unlink(missing_ok=True)
    started = datetime.now(UTC)
    with (path / LOG).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-I", supervisor.__file__, str(path), *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1", job_files.JOB: str(path)},
        )
    _children[process.pid] = process
    job = Job(path, tuple(command), process.pid, started, boot_id())
    row = {"command": job.command, "pid": job.pid, "began": started.isoformat(), "boot": job.boot}
    write_json(path / JOB, row)
    return job


def start_training(
    project: Project,
    *,
    preset: str,
    method: str,
    steps: int | None = None,
    seed: int = 0,
    more: Mapping[str, bool | str | int | float] | None = None,
) -> Run:
    """Starts a training on this machine as a job, and returns its run.

    Args:
        project: to train on.
        preset: a name of `gradebook.pipelines.training.presets`.
        method: a name of `gradebook.mpl.methods`.
        steps: steps to train instead of the preset's.
        seed: random seed of the run.
        more: further settings by their name on the command line, without dashes; True and False set and unset a flag.

    Raises:
        ProjectError: this is Windows.
    """
    _check_system()
    path = _reserve(project, method)
    settings = {"run": path.name, "preset": preset, "method": method, "steps": steps, "seed": seed, **(more or {})}
    options = [text for key, value in settings.items() if value is not None for text in _option(key, value)]
    return _train(project, path, options, step=0, steps=steps or 0)


def _check_system() -> None:
    check_system("background jobs", "run the command in a terminal")


def _option(name: str, value: object) -> tuple[str, ...]:
    if isinstance(value, bool):
        return (f"--{name}" if value else f"--no-{name}",)
    return (f"--{name}", str(value))


def resume_training(project: Project, run: Run) -> Run:
    """Resumes a stopped or failed run from its last checkpoint, as a job.

    Raises:
        ProjectError: the run is training, or has no checkpoint.
    """
    with FileLock(run.path / START_LOCK):  # of two that resume it at once, the second sees the status of the first
        status = run.status()
        if status.state in ACTIVE_STATES:
            raise ProjectError(f"{run.name} is training: stop it first")
        check_unowned(run.path)
        if not can_resume(run):
            raise ProjectError(f"{run.name} has no checkpoint to resume from: start a new run")
        return _train(project, run.path, ["--run", run.name, "--resume"], step=status.step, steps=status.steps)


def can_resume(run: Run) -> bool:
    """Returns whether a run ended early and has a checkpoint. The next session resumes a session's run."""
    checkpoints = run.path / "checkpoints"
    early = run.status().state in (State.STOPPED, State.FAILED)
    return early and not run.is_session and checkpoints.is_dir() and any(checkpoints.iterdir())


def list_jobs(project: Project) -> list[Job]:
    """Returns all jobs of the project, trainings included, oldest first."""
    return sorted(_read_all(project), key=lambda job: job.started)


def find_job(run: Run) -> Job | None:
    """Returns the job that trains a run; None for a run that was started from a command line."""
    return _read(run.path)


def job_state(job: Job) -> JobState:
    """Returns whether a job runs, and if not, whether it succeeded."""
    if _members(job):
        return JobState.RUNNING
    code = exit_status(job)
    return JobState.DONE if code == 0 else JobState.FAILED


def exit_status(job: Job) -> int | None:
    """Returns the command's exit status; None while it runs, or if the job was killed."""
    try:
        return int((job.path / EXIT).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def interrupt(job: Job) -> None:
    """Asks a job to stop, as Ctrl-C does: a training finishes its step and saves a checkpoint first."""
    trainer = Run(job.path).status()
    members = _members(job)
    trainers = [process for process in members if process.pid == trainer.pid]
    if trainer.state is State.RUNNING and trainers:
        _send(trainers, signal.SIGINT)  # Accelerate's launcher would only log a traceback
        return
    _send(members, signal.SIGINT)
    if trainer.state is State.STARTING:
        early = status_now(State.STOPPED, pid=0, step=0, steps=trainer.steps, message="Stopped before the first step.")
        write_status(job.path, early)


def kill(job: Job) -> None:
    """Kills a job; a training keeps its last checkpoint."""
    _send(_members(job), signal.SIGKILL)


def stop(job: Job, *, timeout: float = 30.0) -> None:
    """Interrupts a job, waits for at most `timeout` seconds, then kills what is left of it."""
    interrupt(job)
    deadline = time.monotonic() + timeout
    while _members(job) and time.monotonic() < deadline:
        time.sleep(0.05)
    kill(job)
    while _members(job):
        time.sleep(0.01)


def _launch() -> list[str]:
    """Returns the start of the command, with every option whose default Accelerate would warn about."""
    return [
        *(sys.executable, "-m", "accelerate.commands.launch", "--quiet"),
        *("--num_processes", "1", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"),
        *("--num_cpu_threads_per_process", str(os.cpu_count() or 1)),  # Accelerate's own choice is one thread
        str(TRAIN),
    ]


def _train(project: Project, path: Path, options: Sequence[str], *, step: int, steps: int) -> Run:
    """Launches the trainer of the run in the directory `path`, which has a status from now on."""
    write_status(path, status_now(State.STARTING, pid=os.getpid(), step=step, steps=steps))
    job = start(project, [*_launch(), str(project.root), *options], path=path)
    if Run(path).status().pid == os.getpid():  # not the trainer's own status yet
        write_status(path, status_now(State.STARTING, pid=job.pid, step=step, steps=steps))
    return Run(path)


def _reserve(project: Project, method: str) -> Path:
    """Creates the new run's directory; runs that start at the same time get different ones."""
    project.runs.mkdir(exist_ok=True)
    while True:
        path = project.runs / new_run_name(project, method)
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return path


def _new_directory(parent: Path) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    number = max((int(path.name) for path in parent.iterdir() if path.name.isdecimal()), default=0) + 1
    while True:
        path = parent / f"{number:04d}"
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
            continue
        return path


def _read_all(project: Project) -> Iterator[Job]:
    paths = [run.path for run in list_runs(project)]
    if (project.root / "jobs").is_dir():
        paths += (project.root / "jobs").iterdir()
    return (job for job in map(_read, paths) if job)


def _read(path: Path) -> Job | None:
    try:
        row = json.loads((path / JOB).read_text(encoding="utf-8"))
        command, started = tuple(map(str, row["command"])), datetime.fromisoformat(row["began"]).astimezone(UTC)
        return Job(path, command, int(row["pid"]), started, str(row.get("boot", "")))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProjectError(f"{path / JOB} cannot be read ({error}): remove {path}") from error


def _members(job: Job) -> list[ProcessId]:
    """Returns the processes of the job that are running on this machine.

    A process that merely has a remembered id, or is in a group with one, is not among them.
    """
    if job.boot not in ("", boot_id()):
        return []
    if (child := _children.get(job.pid)) is not None:
        child.poll()  # reaps it
    return group_with_variable(job.pid, job_files.JOB, str(job.path))


def _send(processes: Sequence[ProcessId], number: signal.Signals) -> None:
    for process in processes:
        send_signal(process, number)
