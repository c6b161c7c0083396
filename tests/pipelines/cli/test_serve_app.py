"""`gradebook app`: the process that it starts, and the link to one that runs."""

import os
import socket
import subprocess

import pytest

from gradebook.pipelines.cli import serve_app
from gradebook.pipelines.process import servers
from gradebook.pipelines.process.access_gate import TOKEN_VARIABLE
from gradebook.storage.project import create_project


@pytest.mark.parametrize(("token", "expected"), [(True, None), (False, "")])
def test_the_app_chooses_its_token_unless_none_is_wanted(tmp_path, monkeypatch, token, expected):
    started = []

    class Process:
        def __init__(self, command, env):
            started.append((command, env.get(TOKEN_VARIABLE)))

        def wait(self):
            return 0

    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    monkeypatch.setattr(subprocess, "Popen", Process)
    root = create_project(tmp_path / "birds", ["crow"]).root
    assert serve_app.open_app(root, 0, token=token) == 0
    ((command, given),) = started
    assert command[-1] == str(root) and given == expected


def test_the_link_to_an_app_that_runs_is_printed_again(tmp_path, capsys):
    root = create_project(tmp_path / "birds", ["crow"]).root
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        with servers.registered(root, servers.APP, port=port, pid=os.getpid(), token="a-token"):
            assert serve_app.open_app(root, port) == 0
    assert f"already running at http://127.0.0.1:{port}/?token=a-token" in capsys.readouterr().out
