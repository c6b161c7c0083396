"""Ends a live session from another process."""

import signal
import time

from gradebook.pipelines.process.pids import send_signal
from gradebook.pipelines.session.lock import SessionState, live_session
from gradebook.storage.project import Project, ProjectError

TIMEOUT_S = 600.0  # to fine-tune and cross-validate the student
POLL_INTERVAL_S = 0.1


def stop_session(project: Project, *, timeout: float = TIMEOUT_S) -> str:
    """Asks the project's session to end, and waits until it has; returns the name of its run, empty if it had none.

    Raises:
        ProjectError: no session is live, it is on another machine, or it has not ended after `timeout` seconds.
    """
    session = request_stop(project)
    deadline, name = time.monotonic() + timeout, session.run
    while (now := live_session(project)) is not None and now.process == session.process:
        if time.monotonic() > deadline:
            raise ProjectError(
                f"{now} is still finishing: wait for it, and check with: gradebook status {project.root}"
            )
        name = now.run
        time.sleep(POLL_INTERVAL_S)
    return name


def request_stop(project: Project) -> SessionState:
    """Asks the project's session to end, and returns it; it finishes its run first.

    Raises:
        ProjectError: no session is live, or it is on another machine.
    """
    session = live_session(project)
    if session is None:
        raise ProjectError(f"no session is live on {project.root}: start one with: gradebook session {project.root}")
    if not session.process.is_here:
        raise ProjectError(f"{session} is on another machine: stop it there")
    send_signal(session.process, signal.SIGTERM)
    return session
