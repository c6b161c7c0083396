"""The command that trains while you label."""

import os
from typing import Annotated

from tyro.conf import arg

from gradebook.pipelines.cli.options import Flag, Json, Project, app, print_result, print_rows
from gradebook.pipelines.process.launched import stop_with_launcher
from gradebook.storage.project import ProjectError
from gradebook.storage.system import check_system

# Added to the niceness. On Linux a process of niceness 5 has a third of the app's weight, so the app comes first.
# One of 10 has a tenth, and beside other work its snapshots took minutes.
NICE = 5


@app.command
def session(
    project: Project,
    *,
    method: Annotated[str, arg(help="training method of a new session, as for train")] = "mpl",
    seed: Annotated[int, arg(help="random seed of a new session")] = 0,
    idle_minutes: Annotated[float, arg(help="end after this many minutes without a new label; 0 for never")] = 60.0,
    stop: Annotated[Flag, arg(help="end the live session, and wait until its run has finished")] = False,
    status: Annotated[Flag, arg(help="show whether a session is live, and how far behind the labels it is")] = False,
    json: Json = False,
) -> None:
    """Train while you label: the queue follows each label.

    Trains on embeddings while labels come in, until Ctrl-C, --stop, or an hour without a new label. The result is a
    finished run. A session that was killed continues from its last checkpoint.
    """
    if stop and status:
        raise ProjectError("--stop ends a session and --status shows it: give one of them")
    if stop:
        _stop(project)
        return
    if status:
        _print_status(project, json)
        return
    if idle_minutes < 0:
        raise ProjectError(f"--idle-minutes {idle_minutes:g} is below 0: give the minutes, or 0 for never")
    check_system("live sessions", "train with gradebook train")
    stop_with_launcher()
    _lower_priority()
    from gradebook.pipelines.cli.formatting import session_summary
    from gradebook.pipelines.session.trainer import as_json, run_session

    result = as_json(run_session(project, method=method, seed=seed, idle_minutes=idle_minutes))
    print_result(result, json, lambda: session_summary(result))


def _lower_priority() -> None:
    """Lowers the priority of this process, and has it compute on one thread."""
    os.nice(NICE)
    for library in ("OMP", "OPENBLAS", "MKL"):  # before numpy and torch are loaded
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")


def _stop(project: Project) -> None:
    from gradebook.pipelines.session.stop import stop_session
    from gradebook.storage.project import read_project

    opened = read_project(project)
    name = stop_session(opened)
    print(f"{name} has ended" if name else "the session has ended before it had labels to train on")


def _print_status(project: Project, as_json: bool) -> None:
    from gradebook.pipelines.session.status import live_status
    from gradebook.storage.store import open_store

    store = open_store(project)
    status = live_status(store.project, store.log.read())
    print_rows(
        status and status.as_json(),
        as_json,
        lambda: status.line if status else f"no session is live: start one with: gradebook session {project}",
    )
