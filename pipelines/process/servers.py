"""Where a project's servers are: the app and FiftyOne's App each leave their port in a file, to be found."""

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

ADDRESS = "127.0.0.1"  # neither server asks anybody for a password
APP, FIFTYONE = "app", "fiftyone"


def find(root: Path, name: str) -> str | None:
    """Returns the address of the project's server of that name if it runs and listens, such as http://127.0.0.1:8501.

    A file that a killed server or another boot left is not believed.
    """
    try:
        said = json.loads(_file(root, name).read_text(encoding="utf-8"))
        port, pid, at = int(said["port"]), int(said["pid"]), datetime.fromisoformat(said["at"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return f"http://{ADDRESS}:{port}" if alive(pid, seen=at) and _listens(port) else None


@contextmanager
def registered(root: Path, name: str, *, port: int, pid: int) -> Iterator[None]:
    """Lets others find a server of the project's while the block runs."""
    file = _file(root, name)
    file.parent.mkdir(exist_ok=True)
    mine = json.dumps({"port": port, "pid": pid, "at": datetime.now(UTC).isoformat()}) + "\n"
    write_atomic(file, mine)
    try:
        yield
    finally:
        if file.is_file() and file.read_text(encoding="utf-8") == mine:
            file.unlink()


def start_lock(root: Path, name: str) -> FileLock:
    """Returns the lock that whoever looks for a server in order to start one must hold: one server a project."""
    file = _file(root, name)
    file.parent.mkdir(exist_ok=True)
    return FileLock(file.with_suffix(".lock"))


@contextmanager
def signals_as_interrupts() -> Iterator[None]:
    """Makes Ctrl-C and SIGTERM a KeyboardInterrupt while the block runs, even where a shell has us ignore Ctrl-C.

    Only the main thread hears signals: elsewhere nothing changes.
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
    """Returns the wanted port, or for 0 any, if nobody listens there.

    Raises:
        ProjectError: somebody does, or nobody may.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server will
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
