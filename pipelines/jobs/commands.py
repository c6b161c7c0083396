"""Background jobs that run gradebook's commands: start them, and read their progress and results."""

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.inference.classifier import MODEL
from gradebook.pipelines.jobs.launcher import Job, JobState, exit_status, list_jobs, start
from gradebook.pipelines.jobs.launcher import job_state as state_of_process
from gradebook.pipelines.process.errors import INTERRUPTED
from gradebook.pipelines.process.job_files import Progress, read_answer, read_progress
from gradebook.storage.project import Project, ProjectError

if TYPE_CHECKING:
    from gradebook.storage.vectors import Space

CLI = "gradebook.pipelines.cli.main"
COMMANDS = frozenset({"import", "embed", "map", "export", "export-labels", "forecast", "evaluate", "fiftyone"})
FAILURE_PREFIX = "gradebook: "  # of the message with which a command fails
LOG_TAIL_BYTES = 20_000  # of a log that are searched for it


def start_import(project: Project, images: Path, *, labels: str, split: str, embed: bool = False) -> Job:
    """Starts importing images; `labels`, `split` and `embed` are as `gradebook import` takes them."""
    options = ("--embed",) if embed else ()
    return _start(project, "import", str(images), "--labels", labels, "--split", split, *options)


def restart(project: Project, job: Job) -> Job:
    """Starts the command of a job that has ended again, with the same arguments.

    Raises:
        ProjectError: it is not one that this module starts, as in a project from elsewhere.
    """
    name, *arguments = command_of(job) or ("",)
    if name not in COMMANDS:
        raise ProjectError(f"{name or 'this'} is not a command that can be started again: remove {job.path}")
    return _start(project, name, *arguments)


def start_embed(project: Project, space: "Space | None") -> Job:
    """Starts embedding the images that have no vectors yet, as the vectors of `space` were made."""
    if space is None:
        return _start(project, "embed")
    views = str(space.weak + space.strong)
    return _start(project, "embed", "--backbone", space.backbone, "--views", views, "--weights", space.source)


def start_map(project: Project) -> Job:
    """Starts computing the map."""
    return _start(project, "map")


def start_forecast(project: Project) -> Job:
    """Starts forecasting accuracy with more labels."""
    return _start(project, "forecast")


def start_evaluation(project: Project, run: str) -> Job:
    """Starts evaluating a run on the test split."""
    return _start(project, "evaluate", "--run", run)


def start_fiftyone(project: Project, run: str | None) -> Job:
    """Starts FiftyOne with the record of a run, or brings it up to date if it is running."""
    return _start(project, "fiftyone", *(("--run", run) if run else ()))


def start_session(project: Project) -> Job:
    """Starts a live session."""
    return _start(project, "session", "--json")


def start_export(project: Project, run: str, directory: Path) -> Job:
    """Starts exporting a run's student into a directory."""
    return _start(project, "export", str(directory), "--run", run)


def start_export_labels(project: Project, out: Path, form: str) -> Job:
    """Starts exporting the labels to a file or directory, in a format of `gradebook.pipelines.export.labels`."""
    return _start(project, "export-labels", str(out), "--format", form)


def command_of(job: Job) -> tuple[str, ...]:
    """Returns a job's command and its arguments after the project, such as import and a folder; else nothing."""
    if CLI not in job.command:
        return ()
    name, _, *arguments = job.command[job.command.index(CLI) + 1 :]
    return (name, *arguments)


def newest(project: Project, *commands: str) -> Job | None:
    """Returns the newest job of these commands, such as import; None if there is none."""
    return next(
        (job for job in reversed(list_jobs(project)) if command_of(job)[:1] and command_of(job)[0] in commands), None
    )


def exported_to(project: Project, run: str) -> Path | None:
    """Returns the directory of the newest export of a run that still exists; None if there is none."""
    for job in reversed(list_jobs(project)):
        name, *arguments = command_of(job) or ("",)
        done = result(job) if name == "export" and run in arguments else None
        if done is not None and done["run"] == run and (Path(done["dir"]) / MODEL).is_file():
            return Path(done["dir"])
    return None


def progress(job: Job) -> Progress | None:
    """Returns the progress of a job; None before its first report."""
    return read_progress(job.path)


def result(job: Job) -> dict[str, Any] | None:
    """Returns what the command prints with --json; None before it has."""
    return read_answer(job.path)


def job_state(job: Job) -> JobState:
    """Returns the state of a job; one with a result is done, even if it was stopped while it shut down."""
    state = state_of_process(job)
    return JobState.DONE if state is JobState.FAILED and result(job) is not None else state


def was_stopped(job: Job) -> bool:
    """Returns whether a job was stopped: interrupted, or killed before it could write its exit status."""
    return exit_status(job) in (INTERRUPTED, -signal.SIGINT, None)


def failure_message(job: Job) -> str:
    """Returns the message with which a job failed; empty if it left none."""
    try:
        with job.log.open("rb") as log:
            log.seek(max(0, job.log.stat().st_size - LOG_TAIL_BYTES))
            lines = log.read().decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return ""
    return next((line.removeprefix(FAILURE_PREFIX) for line in reversed(lines) if line.startswith(FAILURE_PREFIX)), "")


def _start(project: Project, command: str, *arguments: str) -> Job:
    """Starts a command; -P keeps modules in the working directory from replacing gradebook's."""
    return start(project, [sys.executable, "-P", "-m", CLI, command, str(project.root), *arguments])
