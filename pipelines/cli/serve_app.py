"""Opens the app: Streamlit in a process of its own, on this machine only."""

import importlib.util
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

from gradebook.pipelines.process import servers
from gradebook.storage.project import ProjectError, read_project


def open_app(project: Path | None, port: int) -> int:
    """Serves the app until Ctrl-C or SIGTERM, findable for a project meanwhile, and returns Streamlit's exit status.

    Raises:
        ProjectError: `project` is given and is none, or the port is taken.
    """
    if project is not None:
        read_project(project)
    main = importlib.util.find_spec("gradebook.app.main")
    if main is None or main.origin is None:
        raise ProjectError("the app is not installed: install gradebook as its README says")
    port = servers.free_port(port)
    command = [
        *(sys.executable, "-m", "streamlit", "run", main.origin),
        *("--server.address", "127.0.0.1", "--server.port", str(port), "--browser.gatherUsageStats", "false"),
        *("--", *([str(project)] if project else [])),
    ]
    server = subprocess.Popen(command)
    root = project.expanduser().resolve() if project else None
    known = servers.registered(root, servers.APP, port=port, pid=server.pid) if root else nullcontext()
    with servers.signals_as_interrupts(), known:
        try:
            return server.wait()
        except KeyboardInterrupt:
            server.terminate()  # it got the same Ctrl-C, but not the same SIGTERM
            server.wait()
            return 0
