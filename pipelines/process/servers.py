"""The servers of a project. The app and FiftyOne's App each write their port and token to a file for other processes.

Only the user who started a server can read its file.
"""

import json
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode

import psutil
from filelock import FileLock

from gradebook.pipelines.process.access_gate import TOKEN
from gradebook.pipelines.process.pids import alive
from gradebook.storage.files import atomic_path
from gradebook.storage.project import ProjectError

ADDRESS = "127.0.0.1"
APP, FIFTYONE = "app", "fiftyone"


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs."""

    address: str  # such as http://127.0.0.1:8501
    token: str | None = field(default=None, repr=False)  # None if it asks for none

    def link(self, path: str = "/", **query: str) -> str:
        """Returns a link for a browser, with the token."""
        query |= {TOKEN: self.token} if self.token else {}
        return f"{self.address}{path}" + (f"?{urlencode(query)}" if query else "")

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a request of ours."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


def find(root: Path, name: str) -> Server | None:
    """Returns the project's server of that name if it runs and listens.

    A file that a killed server left, one from before a restart, or one that came with a project that somebody else
    made, is ignored.
    """
    try:
        entry = json.loads(_file(root, name).read_text(encoding="utf-8"))
        port, pid, at = int(entry["port"]), int(entry["pid"]), datetime.fromisoformat(entry["at"])
        token = entry.get("token")
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Server(f"http://{ADDRESS}:{port}", token) if alive(pid, seen=at) and _listens(pid, port) else None


@contextmanager
def registered(root: Path, name: str, *, port: int, pid: int, token: str | None) -> Iterator[None]:
    """Registers a server of the project, which others can find while the block runs."""
    file = directory(root) / f"{name}.json"
    entry = json.dumps({"port": port, "pid": pid, "token": token, "at": datetime.now(UTC).isoformat()}) + "\n"
    with atomic_path(file) as temporary:
        temporary.touch(mode=0o600)
        temporary.write_text(entry, encoding="utf-8")
    try:
        yield
    finally:
        if file.is_file() and file.read_text(encoding="utf-8") == entry:
            file.unlink()


def start_lock(root: Path, name: str) -> FileLock:
    """Returns the lock to hold while looking for a server in order to start one, so that a project has only one."""
    return FileLock(directory(root) / f"{name}.lock")


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


def free_port_near(wanted: int) -> int:
    """Returns the wanted port if it is free, else any free one.

    Raises:
        ProjectError: no port is permitted.
    """
    try:
        return free_port(wanted)
    except ProjectError:
        return free_port(0)


def directory(root: Path) -> Path:
    """Returns the directory of the servers' files in a project, which this makes if need be."""
    path = root / "servers"
    path.mkdir(exist_ok=True)
    return path


def _file(root: Path, name: str) -> Path:
    return root / "servers" / f"{name}.json"


def _listens(pid: int, port: int) -> bool:
    """Returns whether this very process listens on the port; of processes of other users this is not known."""
    try:
        connections = psutil.Process(pid).net_connections("tcp")
    except psutil.Error:
        return False
    return any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in connections)
