"""One session for each project: its process owns the project's directory `session`, and says there what it does."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from gradebook.pipelines.process.owner import OWNER, owned, read_owners
from gradebook.pipelines.process.pids import ProcessId, this_process
from gradebook.storage.files import write_json
from gradebook.storage.project import Project, ProjectError

DIRECTORY, STATE = "session", "state.json"


class Phase(StrEnum):
    """What a session does."""

    STARTING = "starting"
    WAITING = "waiting"  # for labels of two classes
    TRAINING = "training"
    IDLE = "idle"  # nothing is new
    FINISHING = "finishing"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionState:
    """A session that is live."""

    process: ProcessId
    started: str = ""  # ISO 8601, UTC
    phase: Phase = Phase.STARTING
    run: str = ""  # the run that it trains; empty before the first

    def __str__(self) -> str:
        """Returns the session's name in messages."""
        since = f", since {self.started}" if self.started else ""
        return f"{self.run or 'a session'} ({self.process}{since})"

    def as_json(self) -> dict[str, Any]:
        """Returns the state as plain data."""
        process = {"host": self.process.host, "pid": self.process.pid}
        return {**process, "started": self.started, "phase": self.phase, "run": self.run}


@contextmanager
def session_lock(project: Project) -> Iterator[None]:
    """Makes this process the project's session while the block runs.

    Raises:
        ProjectError: another process is; the message names it.
    """
    other = live_session(project)
    if other is not None:
        raise ProjectError(f"{other} trains on this project already: {_remedy(project, other)}")
    directory = project.root / DIRECTORY
    with owned(directory, [this_process()]):
        try:
            started = datetime.now(UTC).isoformat(timespec="seconds")
            _write(project, SessionState(process=this_process(), started=started))
            yield
        finally:
            (directory / STATE).unlink(missing_ok=True)


def update_session(project: Project, phase: Phase, run: str = "") -> None:
    """Writes what this process's session does."""
    state = live_session(project)
    assert state is not None and state.process == this_process(), "only the session itself says what it does"
    if (state.phase, state.run) != (phase, run or state.run):
        _write(project, replace(state, phase=phase, run=run or state.run))


def live_session(project: Project) -> SessionState | None:
    """Returns the session that is live, None if there is none. One on another machine is believed.

    Raises:
        ProjectError: the file that names its process cannot be read.
    """
    directory = project.root / DIRECTORY
    owners = read_owners(directory)
    if not owners or owners[0].has_ended:
        return None
    state = SessionState(process=owners[0])
    try:
        row = json.loads((directory / STATE).read_text(encoding="utf-8"))
        if (row["host"], row["pid"]) == (state.process.host, state.process.pid):
            return replace(state, started=str(row["started"]), phase=Phase(row["phase"]), run=Path(row["run"]).name)
    except (OSError, ValueError, KeyError, TypeError):
        pass  # it has not written its state yet
    return state


def _remedy(project: Project, state: SessionState) -> str:
    if state.process.is_here:
        return f"stop it with: gradebook session {project.root} --stop"
    return f"stop it there; if it has ended, delete {project.root / DIRECTORY / OWNER}"


def _write(project: Project, state: SessionState) -> None:
    write_json(project.root / DIRECTORY / STATE, state.as_json())
