"""Finds or starts the MongoDB that FiftyOne needs, before FiftyOne is imported.

The order: the server that FIFTYONE_DATABASE_URI names; the one that we started for this project earlier; a new
one, from the mongod that came with FiftyOne or the one on the PATH. Ours keeps its files in `mongo/` of the
project, answers on this machine only, and outlives the command that started it: `stop` ends it.

MongoDB holds only the projection of a project, so losing it loses no label.
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
TIMEOUT_S = 60.0  # in which a new server must answer


class NoDatabase(ProjectError):  # noqa: N818 - a fact about this machine
    """FiftyOne has no MongoDB here; the message says how to get one."""


def use_project_database(root: Path) -> str:
    """Sets the environment so that a later `import fiftyone` uses this project's database, and returns its URI.

    Raises:
        NoDatabase: there is no server, and no mongod to start one.
        ProjectError: FiftyOne is imported already and uses another database.
    """
    uri = find_or_start(root)
    if "fiftyone" in sys.modules and os.environ.get(URI) != uri:
        raise ProjectError("FiftyOne serves another project in this process: open this one in a process of its own")
    if os.environ.get(URI) != uri:
        _own_uris.add(uri)
        os.environ[URI] = uri
    os.environ.setdefault("FIFTYONE_DATABASE_VALIDATION", "false")  # MongoDB 6.0 works and is warned of
    os.environ.setdefault("FIFTYONE_DO_NOT_TRACK", "true")
    return uri


def find_or_start(root: Path) -> str:
    """Returns the URI of a MongoDB for the project at `root`; two that ask at once get the same one.

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
    """Ends the server that we started for the project; returns whether there was one."""
    from pymongo.errors import PyMongoError

    home = root / "mongo"
    if not home.is_dir():
        return False
    with FileLock(home / ".lock"):
        port = _running_port(home)
        if port is None:
            return False
        with suppress(PyMongoError):  # it hangs up instead of answering
            _ask(port, "shutdown")
        _wait_for_end(home / "data")
    return True


_own_uris: set[str] = set()  # URIs that this process put into the environment, which are not the user's


def _uri(port: int) -> str:
    """Returns an URI with which a write is acknowledged only once a kill cannot lose it."""
    return f"mongodb://127.0.0.1:{port}/?journal=true"


def _mongod() -> Path:
    """Returns the mongod that FiftyOne brought, else the one on the PATH."""
    package = importlib.util.find_spec("fiftyone")
    for folder in (package.submodule_search_locations or []) if package else []:
        if os.access(Path(folder) / "db" / "bin" / "mongod", os.X_OK):
            return Path(folder) / "db" / "bin" / "mongod"
    if found := shutil.which("mongod"):
        return Path(found)
    raise NoDatabase(
        "FiftyOne needs MongoDB and there is none: install it with `uv sync --extra mongodb` "
        f"(x86-64 Linux), put a mongod on the PATH, or set {URI} to a server of yours"
    )


def _running_port(home: Path) -> int | None:
    """Returns the port of the server that runs on this project's files, if one does."""
    from pymongo.errors import PyMongoError

    port = _last_port(home)
    try:
        running = _ask(port, "getCmdLineOpts")["parsed"]["storage"]["dbPath"] if port else None
    except (KeyError, PyMongoError):
        return None
    return port if running and Path(running) == home / "data" else None


def _last_port(home: Path) -> int | None:
    """Returns the port of the server that was started last."""
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
    """Starts mongod in a session of its own and returns its port once it answers.

    It is the port of the one before where nobody has taken it: whoever was connected to that finds this one.
    """
    (home / "data").mkdir(exist_ok=True)
    for again in (_last_port(home), None, None):  # somebody may take the free port before mongod does
        port = _free_port(again)
        with (home / "log.txt").open("wb") as log:
            process = subprocess.Popen(
                _command(mongod, home, port),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if _answers(process, port):
            write_json(home / "server.json", {"port": port, "pid": process.pid})
            return port
        if process.returncode != 48:  # 48: the address is in use
            break
    raise NoDatabase(
        f"{mongod} does not start (exit status {process.returncode}, see {home / 'log.txt'}): "
        f"correct that, or set {URI} to a server of yours"
    )


def _command(mongod: Path, home: Path, port: int) -> list[str]:
    return [
        str(mongod),
        *("--dbpath", str(home / "data"), "--port", str(port), "--bind_ip", "127.0.0.1"),
        *("--nounixsocket", "--wiredTigerCacheSizeGB", "0.25"),  # its default takes half of the memory
    ]


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    """Waits until the new server answers; ends it if it takes too long."""
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


def _free_port(wanted: int | None) -> int:
    """Returns the wanted port where nobody has it, else any that is free."""
    with socket.socket() as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as mongod will: connections of the last may linger
        try:
            probe.bind(("127.0.0.1", wanted or 0))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for_end(data: Path) -> None:
    """Waits until a server that shuts down has let go of its files: the last thing it does is to empty this one."""
    deadline = time.monotonic() + TIMEOUT_S
    while (data / "mongod.lock").stat().st_size and time.monotonic() < deadline:
        time.sleep(0.05)
