"""Finds or starts the MongoDB that FiftyOne needs, before FiftyOne is imported.

In this order: the server that FIFTYONE_DATABASE_URI names; the one that was started for this project earlier; a new
one, from FiftyOne's own mongod or the one on the PATH. The project's server stores its files in `mongo/` of the
project, listens on localhost only, and outlives the command that started it: `stop` ends it.

MongoDB holds only a copy of a project, so losing it loses no label.
"""

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from gradebook.storage.files import write_json
from gradebook.storage.project import ProjectError

URI = "FIFTYONE_DATABASE_URI"
TIMEOUT_S = 60.0  # for a new server to answer, and for an old one to shut down


class NoDatabase(ProjectError):  # noqa: N818 - a condition of this machine
    """FiftyOne has no MongoDB here; the message says how to get one."""


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
    home = root / "mongo"
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(home / ".lock"):
        return _uri(_running_port(home) or _start(_mongod(), home))


def stop(root: Path) -> bool:
    """Ends the server that was started for the project; returns whether there was one."""
    from pymongo.errors import PyMongoError

    home = root / "mongo"
    if not home.is_dir():
        return False
    with FileLock(home / ".lock"):
        port = _running_port(home)
        if port is None:
            return False
        with suppress(PyMongoError):  # the server closes the connection instead of answering
            _ask(port, "shutdown")
        _wait_for_shutdown(home / "data")
    return True


_own_uris: set[str] = set()  # URIs that this process, not the user, put into the environment


def _uri(port: int) -> str:
    """Returns a URI with journaled writes, so that a kill cannot lose an acknowledged one."""
    return f"mongodb://127.0.0.1:{port}/?journal=true"


def _mongod() -> Path:
    """Returns FiftyOne's own mongod, else the one on the PATH."""
    package = importlib.util.find_spec("fiftyone")
    for folder in (package.submodule_search_locations or []) if package else []:
        if os.access(Path(folder) / "db" / "bin" / "mongod", os.X_OK):
            return Path(folder) / "db" / "bin" / "mongod"
    if on_path := shutil.which("mongod"):
        return Path(on_path)
    raise NoDatabase(
        "FiftyOne needs MongoDB and there is none: install it with `uv sync --extra mongodb` "
        f"(x86-64 Linux), put a mongod on the PATH, or set {URI} to a server of yours"
    )


def _running_port(home: Path) -> int | None:
    """Returns the port of the running server of this project, None if there is none."""
    from pymongo.errors import PyMongoError

    port = _last_port(home)
    try:
        running = _ask(port, "getCmdLineOpts")["parsed"]["storage"]["dbPath"] if port else None
    except (KeyError, PyMongoError):
        return None
    return port if running and Path(running) == home / "data" else None


def _last_port(home: Path) -> int | None:
    """Returns the port of the server that was started last, None if unknown."""
    try:
        port = int(json.loads((home / "server.json").read_text(encoding="utf-8"))["port"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return port if 0 < port < 65_536 else None


def _ask(port: int, command: str) -> dict[str, Any]:
    from pymongo import MongoClient

    client: MongoClient[dict[str, Any]]
    with MongoClient("127.0.0.1", port, serverSelectionTimeoutMS=1000, connectTimeoutMS=1000) as client:
        return client.admin.command(command)


def _start(mongod: Path, home: Path) -> int:
    """Starts mongod in its own session and returns its port once it answers.

    Reuses the last server's port if it is free, so that its clients can reconnect.
    """
    (home / "data").mkdir(exist_ok=True)
    for preferred in (_last_port(home), None, None):  # another process may take the free port before mongod does
        port = _free_port(preferred)
        with (home / "log.txt").open("wb") as log:
            process = subprocess.Popen(
                _command(mongod, home, port),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if _wait_for_start(process, port):
            write_json(home / "server.json", {"port": port, "pid": process.pid})
            return port
        if process.returncode != 48:  # 48: the address is in use
            break
    raise NoDatabase(
        f"{mongod} does not start (exit status {process.returncode}, see {home / 'log.txt'}): "
        f"fix the cause, or set {URI} to a server of yours"
    )


def _command(mongod: Path, home: Path, port: int) -> list[str]:
    return [
        str(mongod),
        *("--dbpath", str(home / "data"), "--port", str(port), "--bind_ip", "127.0.0.1"),
        *("--nounixsocket", "--wiredTigerCacheSizeGB", "0.25"),  # the default is half of the memory
    ]


def _wait_for_start(process: subprocess.Popen[bytes], port: int) -> bool:
    """Waits until the new server answers and returns whether it does; ends it after a timeout."""
    from pymongo.errors import PyMongoError

    deadline = time.monotonic() + TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            return int(_ask(port, "serverStatus")["pid"]) == process.pid
        except PyMongoError:
            time.sleep(0.05)
    process.kill()
    process.wait()
    return False


def _free_port(preferred: int | None) -> int:
    """Returns the preferred port if it is free, else any free port."""
    with socket.socket() as probe:
        # As mongod does: connections of the last server may linger.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", preferred or 0))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for_shutdown(data: Path) -> None:
    """Waits until a server has shut down: it empties its lock file last."""
    deadline = time.monotonic() + TIMEOUT_S
    while (data / "mongod.lock").stat().st_size and time.monotonic() < deadline:
        time.sleep(0.05)
