"""The status of a run: how far it is, and whether its process is alive."""

import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from gradebook.pipelines.process.owner import is_owned_elsewhere
from gradebook.pipelines.process.pids import alive
from gradebook.storage.files import write_json

STATUS = "status.json"


class State(StrEnum):
    """The state of a run."""

    STARTING = "starting"  # before the first step
    RUNNING = "running"
    STOPPED = "stopped"  # on request; it can be resumed
    FINISHED = "finished"
    FAILED = "failed"


ACTIVE_STATES = frozenset({State.STARTING, State.RUNNING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The progress of a run. Create one with `status_now`, which fills in the time."""

    state: State
    pid: int = 0  # the training process; 0 if there is none
    step: int = 0  # steps done
    steps: int = 0  # steps planned
    images_per_second: float = 0.0
    message: str = ""  # one sentence, or empty
    updated: str = ""  # ISO 8601, UTC


def read_status(path: Path) -> Status:
    """Returns the newest status of the run in the directory `path`. A running one whose process is gone has failed.

    The status of a process on another machine, which shares the disk, is taken as it is.
    """
    try:
        status = _parsed(json.loads((path / STATUS).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return Status(state=State.FAILED, message="The run has no status: see its log.txt.")
    except (ValueError, TypeError, KeyError) as error:
        return Status(state=State.FAILED, message=f"{STATUS} cannot be read ({error}): start the run again.")
    if (
        status.state in ACTIVE_STATES
        and not alive(status.pid, seen=datetime.fromisoformat(status.updated))
        and not is_owned_elsewhere(path)
    ):
        return replace(
            status,
            state=State.FAILED,
            message=f"The process ended at step {status.step} without a message: see log.txt, then resume.",
        )
    return status


def status_now(
    state: State, *, pid: int, step: int, steps: int, images_per_second: float = 0.0, message: str = ""
) -> Status:
    """Returns a status with the current time."""
    return Status(
        state=state,
        pid=pid,
        step=step,
        steps=steps,
        images_per_second=images_per_second,
        message=message,
        updated=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )


def write_status(path: Path, status: Status) -> None:
    """Writes the status of the run in the directory `path`."""
    write_json(path / STATUS, asdict(status))


def _parsed(value: dict[str, Any]) -> Status:
    fields = {name: value[name] for name in Status.__dataclass_fields__ if name in value}
    fields["state"] = State(value["state"])
    datetime.fromisoformat(value["updated"])
    return Status(**fields)
