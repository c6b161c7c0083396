import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from pymongo import MongoClient

from gradebook.storage import mongod, mongodb
from gradebook.storage.events import Kind, event
from gradebook.storage.install_advice import install_command
from gradebook.storage.mongod import NoDatabase, find_mongods, version_warning
from gradebook.storage.mongodb import find_or_start, stop, use_project_database
from gradebook.storage.project import create_project
from gradebook.storage.samples import Sample, Split
from gradebook.storage.store import open_store

pytestmark = pytest.mark.slow


def has_mongod() -> bool:
    try:
        find_mongods()
    except NoDatabase:
        return False
    return True


needs_mongod = pytest.mark.skipif(not has_mongod(), reason="no mongod: uv sync --extra mongodb")


@pytest.fixture(autouse=True)
def no_server_of_the_user(monkeypatch):
    monkeypatch.setenv(mongodb.URI, "")  # so that it is put back afterwards
    monkeypatch.setattr(mongodb, "_own_uris", set())


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "a project"
    root.mkdir()
    yield root
    stop(root)


def rows(uri: str) -> list[int]:
    with MongoClient(uri) as client:
        return [row["n"] for row in client.test.rows.find(sort=[("n", 1)])]


def test_the_users_server_comes_first(root, monkeypatch):
    monkeypatch.setenv(mongodb.URI, "mongodb://elsewhere:27017")
    assert use_project_database(root) == "mongodb://elsewhere:27017"
    assert not (root / "mongo").exists(), "nothing is started and nothing is written"


def test_without_mongod_the_error_says_how_to_install_one(root, monkeypatch):
    monkeypatch.setattr(mongod.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(mongod.shutil, "which", lambda name: None)
    with pytest.raises(NoDatabase, match=f"{re.escape(install_command('mongodb'))}.*{mongodb.URI}"):
        find_or_start(root)
    assert stop(root) is False


def test_a_mongod_that_does_not_start_is_named_with_its_log(root, monkeypatch, tmp_path):
    broken = program(tmp_path / "mongod", "echo no libcrypto.so.3\nexit 127")
    monkeypatch.setattr(mongodb, "find_mongods", lambda: [broken])
    with pytest.raises(NoDatabase, match=r"exit status 127, see .*log\.txt"):
        find_or_start(root)
    assert "libcrypto" in (root / "mongo" / "log.txt").read_text()


@needs_mongod
def test_a_project_has_one_server_which_other_processes_find_and_stop_ends(root):
    """Two that start at once, and a later process, share it; it outlives the process that started it."""
    program = (
        f"from pathlib import Path; from gradebook.storage.mongodb import *; print(find_or_start(Path({str(root)!r})))"
    )
    with ThreadPoolExecutor() as pool:
        runs = [pool.submit(subprocess.check_output, [sys.executable, "-c", program], text=True) for _ in range(2)]
        uris = {run.result().strip() for run in runs}
    assert len(uris) == 1
    assert uris == {find_or_start(root)}
    assert stop(root) is True
    assert stop(root) is False


@needs_mongod
def test_an_acknowledged_write_survives_a_kill(root):
    uri = find_or_start(root)
    with MongoClient(uri) as client:
        for n in range(100):
            client.test.rows.insert_one({"n": n})
    os.kill(json.loads((root / "mongo" / "server.json").read_text())["pid"], signal.SIGKILL)
    assert rows(find_or_start(root)) == list(range(100)), "a dead server is replaced, with the same files"
    assert find_or_start(root) == uri, "and at the same address, where connected clients find it"


@needs_mongod
def test_a_state_file_that_names_another_server_is_ignored(root, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    uri = find_or_start(root)
    (other / "mongo").mkdir()
    (other / "mongo" / "server.json").write_bytes((root / "mongo" / "server.json").read_bytes())
    assert stop(other) is False, "the server of the first project keeps running"
    assert find_or_start(root) == uri


@needs_mongod
def test_nobody_else_can_connect_or_read_the_files(root):
    """The server has no port; its socket, its files and its log are open to its user alone."""
    find_or_start(root)
    state = json.loads((root / "mongo" / "server.json").read_text())
    process = psutil.Process(state["pid"])
    assert [c for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN] == []
    socket = Path(state["socket"])
    private = (socket.parent, socket, root / "mongo", root / "mongo" / "data", root / "mongo" / "log.txt")
    assert {path.name: path.stat().st_mode & 0o077 for path in private if path.stat().st_mode & 0o077} == {}
    assert stop(root) is True
    assert not socket.parent.exists()


@needs_mongod
def test_a_server_that_an_earlier_release_started_on_a_port_is_replaced(root):
    """It asks for no password, and every user of the machine can connect to it."""
    data = root / "mongo" / "data"
    data.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ("--dbpath", str(data), "--port", str(port), "--bind_ip", "127.0.0.1", "--nounixsocket")
    server = subprocess.Popen([str(find_mongods()[0]), *options], stdout=subprocess.DEVNULL)
    try:
        (root / "mongo" / "server.json").write_text(json.dumps({"port": port, "pid": server.pid}))
        with MongoClient("127.0.0.1", port) as client:
            client.test.rows.insert_one({"n": 1})
        assert rows(find_or_start(root)) == [1], "with the same files"
        assert server.wait(30) == 0
    finally:
        server.kill()
        server.wait()


@pytest.mark.parametrize("name", ["mongo", "mongo/data"])
def test_a_link_in_a_received_project_gets_no_database(root, tmp_path, name):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).symlink_to(elsewhere)
    with pytest.raises(NoDatabase, match="is a link or belongs to another user"):
        find_or_start(root)
    assert list(elsewhere.iterdir()) == [] and elsewhere.stat().st_mode & 0o777 == 0o755


def test_a_socket_that_others_can_open_is_not_used(root, tmp_path):
    """The state file of a received project may name a server of somebody else."""
    (root / "mongo").mkdir()
    shared = tmp_path / f"{mongodb.SOCKET_DIRECTORY}1"
    shared.mkdir(mode=0o755)
    state = root / "mongo" / "server.json"
    for content in ({"socket": str(shared / mongodb.SOCKET)}, {"socket": "\0"}, {"socket": 1}, {"port": "x"}, [], 1):
        state.write_text(json.dumps(content))
        assert mongodb._last_address(root / "mongo") is None
    shared.chmod(0o700)
    state.write_text(json.dumps({"socket": str(shared / mongodb.SOCKET)}))
    assert mongodb._last_address(root / "mongo") == str(shared / mongodb.SOCKET)


def test_a_mongod_that_is_too_new_for_the_files_gives_way_to_an_older_one(root, tmp_path, monkeypatch):
    new = program(tmp_path / "new", f"exit {mongodb.NEEDS_OLDER}")
    old = program(tmp_path / "old", "exit 3")
    monkeypatch.setattr(mongodb, "find_mongods", lambda: [new, old])
    with pytest.raises(NoDatabase, match=r"old does not start \(exit status 3"):
        find_or_start(root)
    monkeypatch.setattr(mongodb, "find_mongods", lambda: [new])
    with pytest.raises(NoDatabase, match=r"move .*data away"):
        find_or_start(root)


def test_the_newer_of_two_mongods_is_started(tmp_path, monkeypatch):
    on_path = program(tmp_path / "mongod", "echo db version v8.0.12")
    bundled = program(tmp_path / "fiftyone" / "db" / "bin" / "mongod", "echo db version v6.0.5")
    monkeypatch.setattr(mongod.shutil, "which", lambda name: str(on_path))
    package = SimpleNamespace(submodule_search_locations=[str(tmp_path / "fiftyone")])
    monkeypatch.setattr(mongod.importlib.util, "find_spec", lambda name: package)
    assert find_mongods() == [on_path, bundled]
    program(on_path, "echo db version v5.0.1")
    assert find_mongods() == [bundled, on_path]


@needs_mongod
def test_a_release_without_security_fixes_is_named(root):
    uri = find_or_start(root)
    assert version_warning(uri, today=date(2022, 1, 1)) is None
    warning = version_warning(uri, today=date(2099, 1, 1))
    assert warning is not None and warning.startswith("MongoDB ") and "has had no security fixes since" in warning


def program(path: Path, lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)
    return path


def test_a_project_of_another_process_is_refused_once_fiftyone_is_imported(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "fiftyone", object())
    monkeypatch.setattr(mongodb, "find_or_start", lambda root: f"mongodb://{root.name}")
    with pytest.raises(ValueError, match="open this one in another process"):
        use_project_database(root)


def test_a_uri_set_by_gradebook_is_not_taken_for_the_users(root, monkeypatch):
    monkeypatch.delitem(sys.modules, "fiftyone", raising=False)
    monkeypatch.setattr(mongodb, "find_mongods", lambda: [Path("mongod")])
    monkeypatch.setattr(mongodb, "_start", lambda mongods, home: f"/{home.parent.name}/{mongodb.SOCKET}")
    assert use_project_database(root) == os.environ[mongodb.URI]
    other = root.parent / "other"
    assert "other%2F" in find_or_start(other)


SAY = """
import json, sys
from pathlib import Path
from gradebook.storage.mongodb import use_project_database
from gradebook.storage.store import open_store
root = Path(sys.argv[1])
use_project_database(root)
from gradebook.storage.fiftyone_dataset import dataset_name, refresh
store = open_store(root)
added = refresh(store, None).added
import fiftyone as fo
dataset = fo.load_dataset(dataset_name(store.project))
print(json.dumps([added, dict(zip(*dataset.values(["gradebook_id", "label.label"])))]))
"""


@needs_mongod
def test_a_lost_database_is_rebuilt_with_the_same_labels(root):
    store = open_store(create_project(root, ["cat", "dog"]).root)
    for n in range(4):
        (root.parent / f"{n}.png").write_bytes(b"")
        path = str(root.parent / f"{n}.png")
        sample = Sample(sample_id=f"s{n}", filepath=path, split=Split.TRAIN, width=1, height=1, fingerprint=bytes(200))
        store.catalog.add([sample], [])
    store.log.append([event(Kind.RELABELLED, f"s{n}", ("cat", "dog")[n % 2], actor="zoe") for n in range(3)])
    find_or_start(root)
    os.kill(json.loads((root / "mongo" / "server.json").read_text())["pid"], signal.SIGKILL)
    time.sleep(0.2)
    shutil.rmtree(root / "mongo")
    result = subprocess.run([sys.executable, "-c", SAY, str(root)], capture_output=True, text=True, check=True)
    assert json.loads(result.stdout.splitlines()[-1]) == [4, {"s0": "cat", "s1": "dog", "s2": "cat", "s3": None}]
