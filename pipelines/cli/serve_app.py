"""Opens the app: Streamlit in a process of its own, on this machine only."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from gradebook.pipelines.process import servers
from gradebook.pipelines.process.access_gate import TOKEN_VARIABLE
from gradebook.storage.project import ProjectError, read_project

DEFAULT_PORT = 8501


def open_app(project: Path | None, port: int, *, token: bool = True) -> int:
    """Serves the app until Ctrl-C or SIGTERM and returns Streamlit's exit status.

    Where the project's app is on this port already, it only prints the link again.

    Args:
        project: the project; None lets the app ask for one.
        port: where to serve.
        token: whether the app asks for a token, which is in the link that it prints.

    Raises:
        ProjectError: `project` is given and is none, or the port is taken.
    """
    if project is not None:
        read_project(project)
    main = importlib.util.find_spec("gradebook.app.main")
    if main is None or main.origin is None:
        raise ProjectError("the app is not installed: install gradebook as its README says")
    running = servers.find(project.expanduser().resolve(), servers.APP) if project else None
    if running is not None and running.address == f"http://{servers.ADDRESS}:{port}":
        print(f"Gradebook is already running at {running.link()}")
        return 0
    port = servers.free_port(port)
    command = [
        *(sys.executable, "-m", "streamlit", "run", main.origin),
        *("--server.address", "127.0.0.1", "--server.port", str(port), "--browser.gatherUsageStats", "false"),
        *("--", *([str(project)] if project else [])),
    ]
    server = subprocess.Popen(command, env=os.environ | ({} if token else {TOKEN_VARIABLE: ""}))
    with servers.signals_as_interrupts():
        try:
            return server.wait()
        except KeyboardInterrupt:
            server.terminate()  # it got the same Ctrl-C, but not the same SIGTERM
            server.wait()
            return 0
