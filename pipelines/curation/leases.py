"""Leases of samples that are on a reviewer's screen, so that two reviewers are not shown the same one.

Leases are stored in the project's `leases.json` and expire after `LEASE_S`, also if a browser is closed or a server is
killed. A lease only keeps a sample out of other people's queues; verdicts depend on the log alone.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import time
from typing import Any

from filelock import FileLock, Timeout

from gradebook.storage.files import write_json
from gradebook.storage.project import Project, ProjectError

FILE = "leases.json"
LEASE_S = 60.0  # lifetime of a lease that is not renewed
TIMEOUT_S = 20.0  # of waiting for the lock

Clock = Callable[[], float]


@contextmanager
def turn(project: Project) -> Iterator[None]:
    """Holds the project's lock for verdicts and leases until the end of the block.

    Raises:
        ProjectError: another process has held it for `TIMEOUT_S`.
    """
    try:
        with FileLock(project.root / f".{FILE}.lock", timeout=TIMEOUT_S, poll_interval=0.01):
            yield
    except Timeout as error:
        raise ProjectError(
            f"another process has been writing verdicts to {project.root} for {TIMEOUT_S:.0f} s: "
            "wait for it, or stop it"
        ) from error


def hold(project: Project, holder: str, wanted: Sequence[str], limit: int, *, now: Clock = time) -> list[str]:
    """Replaces the holder's leases by the first `limit` wanted samples that nobody else holds; returns these.

    Args:
        project: the project.
        holder: the id of a person's browser window.
        wanted: sample ids, in order of preference.
        limit: maximum number of leases.
        now: returns seconds since 1970.
    """
    with turn(project):
        others = {i: lease for i, lease in _read(project, now()).items() if lease["holder"] != holder}
        taken = [i for i in wanted if i not in others][: max(limit, 0)]
        until = now() + LEASE_S
        _write(project, others | {i: {"holder": holder, "until": until} for i in taken})
    return taken


def held_by_others(project: Project, holder: str, *, now: Clock = time) -> frozenset[str]:
    """Returns the samples that other holders have leased."""
    return frozenset(i for i, lease in _read(project, now()).items() if lease["holder"] != holder)


def _read(project: Project, now: float) -> dict[str, dict[str, Any]]:
    """Returns the leases that have not expired; none if the file cannot be read."""
    try:
        leases = json.loads((project.root / FILE).read_text(encoding="utf-8"))
        return {
            i: {"holder": str(lease["holder"]), "until": float(lease["until"])}
            for i, lease in leases.items()
            if now < float(lease["until"]) <= now + LEASE_S
        }
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return {}


def _write(project: Project, leases: dict[str, dict[str, Any]]) -> None:
    write_json(project.root / FILE, leases)
