import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gradebook.pipelines.fiftyone_app.launch import open_app
from gradebook.storage.mongodb import stop
from gradebook.storage.project import ProjectError, create_project
from gradebook.storage.store import memory_store

PROGRAM = """
import os, re, signal, sys, urllib.request
from pathlib import Path
from gradebook.pipelines.fiftyone_app.launch import open_app
from gradebook.storage.project import read_project
from gradebook.storage.store import memory_store

def say(line):
    print(line)
    if address := re.search(r"http\\S+", line):
        print(urllib.request.urlopen(address[0]).status)
        os.kill(os.getpid(), signal.SIGINT)

open_app(memory_store(read_project(Path(sys.argv[1]))), None, say=say)
"""


def test_a_taken_port_is_an_error_before_anything_is_started(tmp_path):
    store = memory_store(create_project(tmp_path / "birds", ["crow"]))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ProjectError, match="choose another with --port"):
            open_app(store, None, port=taken.getsockname()[1])
    assert not (store.project.root / "mongo").exists()


@pytest.mark.slow
def test_the_app_opens_prints_its_address_and_closes_on_ctrl_c(tmp_path):
    root = create_project(tmp_path / "my birds", ["crow"]).root
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    try:
        out = subprocess.check_output([sys.executable, "-c", PROGRAM, str(root)], text=True, env=environment)
    finally:
        stop(root)
    assert re.search(r"FiftyOne shows it at http://127\.0\.0\.1:\d+/datasets/my%20birds-", out)
    assert "200" in out.split()
    assert "FiftyOne is closed" in out
