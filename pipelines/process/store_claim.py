"""One owner at a time of an address at an object store, where there are no locks: a file that names the owner.

The owner writes `owner.json` again every minute. A claim that was not renewed for half an hour has expired, and the
next process takes it over: its owner was killed, or has no network. An owner that finds its claim taken over stops,
as after Ctrl-C. Stores refuse requests of clocks that are more than a quarter of an hour off, so that clocks cannot
make a claim expire that is renewed.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from gradebook.pipelines.process.owner import OWNER, as_json, parse_owners
from gradebook.pipelines.process.pids import ProcessId
from gradebook.pipelines.process.progress import say
from gradebook.storage import object_store
from gradebook.storage.project import ProjectError

RENEWAL_INTERVAL_S = 60.0
EXPIRY_S = 1800.0  # after the last renewal


@contextmanager
def owned_at(address: str, processes: Sequence[ProcessId]) -> Iterator[None]:
    """Makes processes the owners of what is below an address of an object store while the block runs.

    If another process takes the claim over meanwhile, this process is stopped by SIGTERM.

    Raises:
        ProjectError: another process owns it, or the address does not answer; the message says which.
    """
    content = as_json(processes).encode()
    while not object_store.create_exclusive(address, OWNER, content):
        existing = object_store.read(address, OWNER)
        if existing is not None:
            _check_free(address, existing)
        if existing == object_store.read(address, OWNER):  # else somebody has just taken it over
            object_store.delete(address, [OWNER])
    ended = threading.Event()
    renewal = threading.Thread(target=_renew, args=(address, content, ended), name="store-claim", daemon=True)
    renewal.start()
    try:
        yield
    finally:
        ended.set()
        renewal.join()
        with suppress(ProjectError):  # unreachable by now: the claim expires
            if object_store.read(address, OWNER) == content:
                object_store.delete(address, [OWNER])


def _check_free(address: str, content: bytes) -> None:
    """Raises ProjectError if one of the processes that own an address may still work there."""
    file = f"{address}/{OWNER}"
    for process in parse_owners(content, file):
        if process.is_running:
            raise ProjectError(f"{address} belongs to {process}, which is running: wait for it, or stop it")
        written = object_store.written_at(address, OWNER)
        age = 0.0 if written is None else time.time() - written
        if not process.has_ended and age < EXPIRY_S:
            raise ProjectError(
                f"{address} belongs to {process}, which was last active {max(age, 0) / 60:.0f} minutes ago: wait for "
                f"it; if it has ended, wait until it was inactive for {EXPIRY_S / 60:.0f} minutes, or delete {file}"
            )
        if not process.has_ended:
            say(f"{address} belonged to {process}, which was not active for {age / 60:.0f} minutes: taken over")


def _renew(address: str, content: bytes, ended: threading.Event) -> None:
    """Writes the claim again and again; stops this process if the claim is another's."""
    while not ended.wait(RENEWAL_INTERVAL_S):
        try:
            if object_store.read(address, OWNER) == content:
                object_store.rewrite(address, OWNER, content)
                continue
        except ProjectError:  # unreachable: tried again
            continue
        if not ended.is_set():
            say(f"another process has taken {address} over, so this one stops")
            os.kill(os.getpid(), signal.SIGTERM)
        return
