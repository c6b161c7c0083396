"""The servers of a project: the app and FiftyOne's App each write their port to a file, by which others find them."""

import json
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock

from gradebook.pipelines.process.pids import alive
from gradebook.storage.files import write_atomic
from gradebook.storage.project import ProjectError

ADDRESS = "127.0.0.1"  # neither server asks for a password
APP, FIFTYONE = "app", "fiftyone"


def find(root: Path, name: str) -> str | None:
    """Returns the address of the project's server of that name if it runs and listens, such as http://127.0.0.1:8501.

    A file that a killed server left, or one from before a restart, is ignored.
    """
    try:
        entry = json.loads(_file(root, name).read_text(encoding="utf-8"))
        port, pid, at = int(entry["port"]), int(entry["pid"]), datetime.fromisoformat(entry["at"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return f"http://{ADDRESS}:{port}" if alive(pid, seen=at) and _listens(port) else None


@contextmanager
def registered(root: Path, name: str, *, port: int, pid: int) -> Iterator[None]:
    """Registers a server of the project, which others can find while the block runs."""
    file = _file(root, name)
    file.parent.mkdir(exist_ok=True)
    entry = json.dumps({"port": port, "pid": pid, "at": datetime.now(UTC).isoformat()}) + "\n"
    write_atomic(file, entry)
    try:
        yield
    finally:
        if file.is_file() and file.read_text(encoding="utf-8") == entry:
            file.unlink()


def start_lock(root: Path, name: str) -> FileLock:
    """Returns the lock to hold while looking for a server in order to start one, so that a project has only one."""
    file = _file(root, name)
    file.parent.mkdir(exist_ok=True)
    return FileLock(file.with_suffix(".lock"))


@contextmanager
def signals_as_interrupts() -> Iterator[None]:
    """Turns Ctrl-C and SIGTERM into a KeyboardInterrupt while the block runs, even if the shell ignores Ctrl-C.

    Only the main thread receives signals; in other threads nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def free_port(wanted: int) -> int:
    """Returns the wanted port if it is free, or any free port for 0.

    Raises:
        ProjectError: the port is in use, or not permitted.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
        try:
            probe.bind((ADDRESS, wanted))
        except OSError as error:
            raise ProjectError(
                f"port {wanted} cannot be used ({error.strerror}): choose another with --port"
            ) from error
        return int(probe.getsockname()[1])


def _file(root: Path, name: str) -> Path:
    return root / "servers" / f"{name}.json"


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((ADDRESS, port)) == 0
