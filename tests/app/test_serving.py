"""The token of the app, the names that it goes by, and how its link gets to the browser."""

import asyncio
import json
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from gradebook.app import serving, sign_in
from gradebook.pipelines.process.access_gate import LOOPBACK, TOKEN_VARIABLE
from gradebook.storage.project import create_project


@pytest.fixture
def options(monkeypatch) -> dict[str, Any]:
    """Streamlit's options, which a test may change."""
    options = {
        "server.allowedHosts": [],
        "browser.serverAddress": "localhost",
        "server.port": 8501,
        "server.headless": True,
    }
    monkeypatch.setattr(serving.st, "get_option", options.get)
    return options


def test_each_start_has_a_token_of_its_own_unless_the_environment_says_otherwise(monkeypatch):
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    monkeypatch.setattr(sign_in, "is_required", lambda: False)
    first, second = serving.token(), serving.token()
    assert first and second and first != second and len(first) > 40
    monkeypatch.setattr(sign_in, "is_required", lambda: True)
    assert serving.token() is None, "users sign in instead"
    for given in ("mine", ""):
        monkeypatch.setenv(TOKEN_VARIABLE, given)
        assert serving.token() == (given or None)


def test_a_shared_server_has_the_names_in_its_configuration(options, monkeypatch):
    monkeypatch.setattr(sign_in, "public_host", lambda: None)
    assert set(serving.hosts()) == set(LOOPBACK)
    options |= {"server.allowedHosts": ["*.lab.example"], "browser.serverAddress": "birds.example/app"}
    monkeypatch.setattr(sign_in, "public_host", lambda: "cats.example")
    assert set(serving.hosts()) - {"127.0.0.1", "localhost", "::1"} == {
        "*.lab.example",
        "birds.example",
        "cats.example",
    }


def test_the_link_is_printed_and_opened_without_other_users_seeing_it(options, monkeypatch, tmp_path, capsys):
    """Everybody can read the arguments of a process, such as the browser's."""
    root, opened, done = create_project(tmp_path / "birds", ["crow"]).root, [], threading.Event()

    def open_file(address: str) -> None:
        path = Path(address.removeprefix("file://"))
        opened.append((path, path.stat().st_mode & 0o777, path.read_text()))
        done.set()

    monkeypatch.setattr(serving.webbrowser, "open", open_file)
    monkeypatch.setattr(sys, "argv", ["app/main.py", str(root)])
    options["server.headless"] = False

    async def serve() -> dict[str, Any]:
        async with serving.announced("a-token")(None):
            done.wait(10)
            return json.loads((root / "servers" / "app.json").read_text())

    entry = asyncio.run(serve())
    assert (entry["port"], entry["token"]) == (8501, "a-token")
    ((path, mode, text),) = opened
    assert mode == 0o600 and "http://127.0.0.1:8501/?token=a-token" in text
    assert not path.exists() and not (root / "servers" / "app.json").exists()
    assert "Gradebook is at http://127.0.0.1:8501/?token=a-token" in capsys.readouterr().out


def test_a_project_that_cannot_be_written_is_served_all_the_same(options, monkeypatch, tmp_path, capsys):
    root = create_project(tmp_path / "birds", ["crow"]).root
    (root / "servers").write_text("no directory")
    monkeypatch.setattr(sys, "argv", ["app/main.py", str(root)])

    async def serve() -> None:
        async with serving.announced(None)(None):
            pass

    asyncio.run(serve())
    printed = capsys.readouterr()
    assert "Gradebook is at http://127.0.0.1:8501/ " in printed.out and "FiftyOne cannot link to the app" in printed.err
