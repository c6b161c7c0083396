"""One owner at a time: a process that writes to a directory, such as a run's, names itself in its `owner.json`.

Two locks protect the directory. The system's lock on `.owner.lock` ends with the process. `owner.json` is created
exclusively, so it also works on a network file system. One that a dead process of this machine left is taken over. A
process on another machine cannot be checked, so its claim holds until a user deletes the file. At an object store
there is no lock, only the file (`store_claim`).
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock, Timeout

from gradebook.pipelines.process.pids import ProcessId
from gradebook.storage.files import create_exclusive
from gradebook.storage.project import ProjectError

OWNER = "owner.json"
LOCK = ".owner.lock"
TIMEOUT_S = 10.0  # for processes of a dead owner, such as those that decode images, to end


@contextmanager
def owned(directory: Path, processes: Sequence[ProcessId]) -> Iterator[None]:
    """Makes processes the owners of a directory while the block runs; creates the directory if there is none.

    A directory in which nothing was written is removed at the end.

    Args:
        directory: to own.
        processes: first this one, then others that work with it.

    Raises:
        ProjectError: another process owns the directory; the message names it.
    """
    lock = FileLock(directory / LOCK)
    _acquire(lock, directory)
    try:
        _claim(directory, processes)
        try:
            yield
        finally:
            (directory / OWNER).unlink(missing_ok=True)
            (directory / LOCK).unlink(missing_ok=True)
            with suppress(OSError):  # it has files
                directory.rmdir()
    finally:
        lock.release()


def check_unowned(directory: Path) -> None:
    """Checks that no process owns a directory, as far as this machine can know.

    Raises:
        ProjectError: one does; the message names it.
    """
    for process in read_owners(directory):
        if process.is_running:
            raise ProjectError(f"{directory.name} belongs to {process}, which is running: wait for it, or stop it")
        if not process.has_ended:
            raise ProjectError(
                f"{directory.name} belongs to {process}, and whether that runs cannot be seen from here: "
                f"wait for it; if it has ended, delete {directory / OWNER}"
            )


def read_owners(directory: Path) -> list[ProcessId]:
    """Returns the processes that own a directory, or owned it when they were killed.

    Raises:
        ProjectError: the file that names them cannot be read.
    """
    path = directory / OWNER
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ProjectError(_unreadable(path, error)) from error
    return parse_owners(content, path)


def is_owned_elsewhere(directory: Path) -> bool:
    """Returns whether a process on another machine owns a directory, of which nothing is known here."""
    try:
        return any(not process.has_ended and not process.is_here for process in read_owners(directory))
    except ProjectError:
        return False


def parse_owners(content: bytes, path: Path | str) -> list[ProcessId]:
    """Returns the processes that the content of an `owner.json` names.

    Raises:
        ProjectError: it cannot be read.
    """
    try:
        return [
            ProcessId(host=str(row["host"]), boot=str(row["boot"]), pid=int(row["pid"]), started=float(row["started"]))
            for row in json.loads(content)["processes"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise ProjectError(_unreadable(path, error)) from error


def _unreadable(path: Path | str, error: Exception) -> str:
    return f"{path} cannot be read ({error}): delete it if nothing works in {str(path).rpartition('/')[0]}"


def as_json(processes: Sequence[ProcessId]) -> str:
    """Returns the content of an `owner.json` that names these processes."""
    return json.dumps({"processes": [asdict(process) for process in processes]}, ensure_ascii=False) + "\n"


def _acquire(lock: FileLock, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        check_unowned(directory)
        try:
            lock.acquire(timeout=TIMEOUT_S)
        except Timeout as error:
            check_unowned(directory)
            raise ProjectError(
                f"{directory.name} is locked by another process: wait for it, or stop the program that uses {directory}"
            ) from error


def _claim(directory: Path, processes: Sequence[ProcessId]) -> None:
    """Writes `owner.json`, replacing one that a dead process left."""
    while True:
        check_unowned(directory)
        if read_owners(directory):  # they have ended; only processes of this machine, which wait for the lock, see that
            (directory / OWNER).unlink()
        if create_exclusive(directory / OWNER, as_json(processes)):
            return
