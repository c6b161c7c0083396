"""The app and FiftyOne as processes, and Chromium, for benchmarks, browser tests and the pictures in the docs."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradebook.app
from gradebook.pipelines.process import servers
from gradebook.pipelines.process.access_gate import TOKEN_VARIABLE
from gradebook.pipelines.session import automatic
from gradebook.storage import mongodb

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
TIMEOUT_S = 60.0
MAIN = Path(gradebook.app.__file__).with_name("main.py")


@contextmanager
def serving(
    *arguments: Path | str,
    script: str | Path = MAIN,
    folder: Path | None = None,
    quiet: bool = True,
    port: int | None = None,
    token: str = "",
    learn: bool = False,
) -> Iterator[str]:
    """Serves the app while the block runs; yields its address once it answers.

    Args:
        arguments: of the app: a project, or none.
        script: the script that Streamlit runs.
        folder: working directory of the server; None for the current one.
        quiet: whether to hide the server's warnings and errors.
        port: of the server; None for a free one.
        token: the token that the app asks for; none if empty.
        learn: whether the first label may start a live session.
    """
    port = port or free_port()
    command = [sys.executable, "-m", "streamlit", "run", str(script), "--server.headless", "true"]
    command += ["--server.port", str(port), "--server.fileWatcherType", "none", "--", *map(str, arguments)]
    silent = subprocess.DEVNULL
    env = _environment_without("PYTHONDONTWRITEBYTECODE")  # compiled bytecode is cached, as on a user's machine
    env |= {TOKEN_VARIABLE: token, automatic.VARIABLE: "" if learn else automatic.OFF}
    server = subprocess.Popen(command, cwd=folder, stdout=silent, stderr=silent if quiet else None, env=env)
    try:
        _wait(server, f"http://127.0.0.1:{port}/_stcore/health")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


@contextmanager
def serving_fiftyone(root: Path, *, user: str | None = None) -> Iterator["subprocess.Popen[bytes]"]:
    """Runs `gradebook fiftyone` while the block runs, with the project's own MongoDB.

    Args:
        root: the project.
        user: name of the person whose verdicts are logged; None for the present user.
    """
    env = _environment_without(mongodb.URI)
    command = [sys.executable, "-m", "gradebook.pipelines.cli.main", "fiftyone", str(root)]
    server = subprocess.Popen(command, env=env | ({"LOGNAME": user} if user else {}), stdout=subprocess.DEVNULL)
    try:
        yield server
    finally:
        server.terminate()
        server.wait()
        mongodb.stop(root)


def answering(process: "subprocess.Popen[bytes]", root: Path) -> servers.Server:
    """Waits until the project's FiftyOne answers, which takes longer than for the app; returns it."""
    deadline = time.monotonic() + 4 * TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:  # it ends if FiftyOne is already running
        if server := servers.find(root, servers.FIFTYONE):
            return server
        time.sleep(0.1)
    raise SystemExit("FiftyOne does not answer")


def free_port() -> int:
    """Returns a free port of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def chromium(*flags: str) -> Iterator[Any]:
    """Yields a headless Chromium, started with these flags beside our own."""
    from playwright.sync_api import sync_playwright

    if CHROMIUM is None:
        raise SystemExit("Chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *flags])
        try:
            yield browser
        finally:
            browser.close()


def _wait(server: "subprocess.Popen[bytes]", address: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.02)
    raise SystemExit("the app does not answer")


def _environment_without(variable: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != variable}
