"""Leases: who is looking at which sample now, so that two people with the same queue are not shown the same one.

They are in `leases.json` of the project and expire: a closed browser or a killed server holds nothing for longer than
`LEASE_S`. A lease keeps a sample out of other people's queues and does nothing else; verdicts depend on the log alone.
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
LEASE_S = 60.0  # of a lease that nobody renews
TIMEOUT_S = 20.0  # that one process waits for another's turn

Clock = Callable[[], float]


@contextmanager
def turn(project: Project) -> Iterator[None]:
    """Holds the project's turn: nobody else leases samples or decides until the end of the block.

    Raises:
        ProjectError: another process has had it for `TIMEOUT_S` seconds.
    """
    try:
        with FileLock(project.root / f".{FILE}.lock", timeout=TIMEOUT_S, poll_interval=0.01):
            yield
    except Timeout as error:
        raise ProjectError(
            f"another process has been deciding in {project.root} for {TIMEOUT_S:.0f} s: wait for it, or stop it"
        ) from error


def hold(project: Project, holder: str, wanted: Sequence[str], most: int, *, now: Clock = time) -> list[str]:
    """Gives up what the holder had and takes the first `most` wanted samples that nobody else holds; returns them.

    Args:
        project: the project.
        holder: one person's one window.
        wanted: sample ids, first ones first.
        most: how many to take.
        now: seconds since 1970.
    """
    with turn(project):
        others = {i: lease for i, lease in _read(project, now()).items() if lease["holder"] != holder}
        taken = [i for i in wanted if i not in others][: max(most, 0)]
        until = now() + LEASE_S
        _write(project, others | {i: {"holder": holder, "until": until} for i in taken})
    return taken


def held_by_others(project: Project, holder: str, *, now: Clock = time) -> frozenset[str]:
    """Returns the samples that others are looking at."""
    return frozenset(i for i, lease in _read(project, now()).items() if lease["holder"] != holder)


def _read(project: Project, now: float) -> dict[str, dict[str, Any]]:
    """Returns the leases that have not expired; none where the file cannot be read."""
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
