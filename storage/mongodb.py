"""Finds or starts the MongoDB that FiftyOne needs, before FiftyOne is imported.

It uses the server that FIFTYONE_DATABASE_URI names, or else the one that was started earlier for this project, or else
a new one. A new one is the newer of FiftyOne's own mongod and the one on the PATH. It stores its files in the project's
`mongo/` and outlives the command that started it: `stop` ends it.

It has no port. It listens on a Unix socket in a directory that only its user can open, and so needs no password. The
directory is a temporary one, because a socket's path has at most 103 bytes, and some file systems hold no sockets.

MongoDB holds only a copy of a project, so losing it loses no label.
"""

import json
import os
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from filelock import FileLock

from gradebook.storage import system
from gradebook.storage.files import write_json
from gradebook.storage.mongod import URI, NoDatabase, find_mongods
from gradebook.storage.project import ProjectError

TIMEOUT_S = 60.0  # for a new server to answer, and for an old one to shut down
SOCKET = "mongodb-27017.sock"  # the name that mongod gives it
SOCKET_DIRECTORY = "gradebook-mongod-"  # prefix of its directory's name
MAX_SOCKET_PATH = 103  # bytes, on macOS; Linux has a few more
NEEDS_OLDER = 62  # mongod's exit status for files of an older version that it cannot read


def use_project_database(root: Path) -> str:
    """Sets the environment so that a later `import fiftyone` uses this project's database, and returns its URI.

    Raises:
        NoDatabase: there is no server, and no mongod to start one.
        ProjectError: FiftyOne is imported already and uses another database.
    """
    uri = find_or_start(root)
    if "fiftyone" in sys.modules and os.environ.get(URI) != uri:
        raise ProjectError("FiftyOne serves another project in this process: open this one in another process")
    if os.environ.get(URI) != uri:
        _own_uris.add(uri)
        os.environ[URI] = uri
    os.environ.setdefault("FIFTYONE_DATABASE_VALIDATION", "false")  # MongoDB 6.0 works, but FiftyOne warns about it
    os.environ.setdefault("FIFTYONE_DO_NOT_TRACK", "true")
    return uri


def find_or_start(root: Path) -> str:
    """Returns the URI of a MongoDB for the project at `root`; concurrent callers get the same one.

    Raises:
        NoDatabase: there is no server, and no mongod to start one.
    """
    given = os.environ.get(URI)
    if given and given not in _own_uris:
        return given
    if system.IS_WINDOWS:
        raise NoDatabase(f"a MongoDB for FiftyOne is started on Linux and macOS only: set {URI} to a server of yours")
    home = _private_directory(root / "mongo")
    with FileLock(home / ".lock"):
        address = _running(home)
        if address is not None and not _is_socket(address):  # an earlier release started it, on a port without password
            _shut_down(address, home)
            address = None
        return _uri(address or _start(find_mongods(), home))


def stop(root: Path) -> bool:
    """Ends the server that was started for the project; returns whether there was one."""
    home = root / "mongo"
    if not home.is_dir():
        return False
    with FileLock(home / ".lock"):
        address = _running(home)
        if address is None:
            return False
        _shut_down(address, home)
        if _is_socket(address):
            _remove_socket_directory(address)
    return True


_own_uris: set[str] = set()  # URIs that this process, not the user, put into the environment


def _uri(address: str) -> str:
    """Returns a URI with journaled writes, so that a kill cannot lose an acknowledged one."""
    return f"mongodb://{quote(address, safe='') if _is_socket(address) else address}/?journal=true"


def _running(home: Path) -> str | None:
    """Returns the address of the running server of this project, None if there is none."""
    from pymongo.errors import PyMongoError

    address = _last_address(home)
    try:
        running = _ask(address, "getCmdLineOpts")["parsed"]["storage"]["dbPath"] if address else None
    except (KeyError, PyMongoError):
        return None
    return address if running and Path(running) == home / "data" else None


def _last_address(home: Path) -> str | None:
    """Returns the address of the server that was started last: a private socket, or the port of an earlier release."""
    try:
        state = json.loads((home / "server.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(state, dict):
        return None
    socket, port = state.get("socket"), state.get("port")
    if isinstance(socket, str):
        return socket if _is_private(Path(socket).parent) and Path(socket).name == SOCKET else None
    return f"127.0.0.1:{port}" if isinstance(port, int) and 0 < port < 65_536 else None


def _is_socket(address: str) -> bool:
    return address.endswith(f"/{SOCKET}")


def _is_private(directory: Path) -> bool:
    """Returns whether it is a directory for a socket, made by us, that nobody else can open."""
    try:
        status = directory.lstat()
    except (OSError, ValueError):
        return False
    return (
        directory.name.startswith(SOCKET_DIRECTORY)
        and stat.S_ISDIR(status.st_mode)
        and status.st_uid == os.getuid()
        and not status.st_mode & 0o077
    )


def _ask(address: str, command: str) -> dict[str, Any]:
    from pymongo import MongoClient

    client: MongoClient[dict[str, Any]]
    with MongoClient(_uri(address), serverSelectionTimeoutMS=1000, connectTimeoutMS=1000) as client:
        return client.admin.command(command)


def _shut_down(address: str, home: Path) -> None:
    from pymongo.errors import PyMongoError

    with suppress(PyMongoError):  # the server closes the connection instead of answering
        _ask(address, "shutdown")
    _wait_for_shutdown(home / "data")


def _start(mongods: list[Path], home: Path) -> str:
    """Starts mongod in its own session and returns its socket once it answers.

    Uses the last server's socket again if possible, so that its clients can reconnect. Where the files are too old for
    one mongod, the next is started.
    """
    _private_directory(home / "data")
    socket = _socket(home)
    for mongod in mongods:
        with _private_file(home / "log.txt").open("wb") as log:
            process = subprocess.Popen(
                _command(mongod, home, socket),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if _wait_for_start(process, socket):
            write_json(home / "server.json", {"socket": socket, "pid": process.pid})
            return socket
        if process.returncode != NEEDS_OLDER:
            break
    _remove_socket_directory(socket)
    advice = "fix the cause"
    if process.returncode == NEEDS_OLDER:
        advice = f"move {home / 'data'} away (it has a copy of the project, and your saved views in FiftyOne)"
    raise NoDatabase(
        f"{mongod} does not start (exit status {process.returncode}, see {home / 'log.txt'}): "
        f"{advice}, or set {URI} to a server of yours"
    )


def _command(mongod: Path, home: Path, socket: str) -> list[str]:
    return [
        str(mongod),
        *("--dbpath", str(home / "data"), "--bind_ip", socket, "--unixSocketPrefix", str(Path(socket).parent)),
        *("--wiredTigerCacheSizeGB", "0.25"),  # the default is half of the memory
    ]


def _socket(home: Path) -> str:
    """Returns the path of the last server's socket, or one in a new directory."""
    last = _last_address(home)
    if last is not None and _is_socket(last):
        return last
    for parent in (tempfile.gettempdir(), "/tmp"):
        directory = tempfile.mkdtemp(prefix=SOCKET_DIRECTORY, dir=parent)
        if len(os.fsencode(f"{directory}/{SOCKET}")) <= MAX_SOCKET_PATH:
            return f"{directory}/{SOCKET}"
        Path(directory).rmdir()
    raise NoDatabase("the path of the temporary directory is too long for a socket: set TMPDIR to a shorter one")


def _remove_socket_directory(socket: str) -> None:
    with suppress(OSError):  # something else is in it
        Path(socket).parent.rmdir()


def _private_directory(path: Path) -> Path:
    """Makes a directory that only its owner can open, or closes an existing one to others.

    Raises:
        NoDatabase: it is a link, perhaps to a directory elsewhere, or belongs to another user.
    """
    if not path.is_symlink():
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.is_symlink() or path.stat().st_uid != os.getuid():
        raise NoDatabase(f"{path} is a link or belongs to another user: remove it, or set {URI} to a server of yours")
    path.chmod(0o700)
    return path


def _private_file(path: Path) -> Path:
    path.touch(mode=0o600)
    path.chmod(0o600)
    return path


def _wait_for_start(process: subprocess.Popen[bytes], socket: str) -> bool:
    """Waits until the new server answers and returns whether it does; ends it after a timeout."""
    from pymongo.errors import PyMongoError

    deadline = time.monotonic() + TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            return int(_ask(socket, "serverStatus")["pid"]) == process.pid
        except PyMongoError:
            time.sleep(0.05)
    process.kill()
    process.wait()
    return False


def _wait_for_shutdown(data: Path) -> None:
    """Waits until a server has shut down: it empties its lock file last."""
    deadline = time.monotonic() + TIMEOUT_S
    while (data / "mongod.lock").stat().st_size and time.monotonic() < deadline:
        time.sleep(0.05)
