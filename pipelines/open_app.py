"""Opens the app: Streamlit in a process of its own, on this machine only."""

import importlib.util
import subprocess
import sys
from pathlib import Path

from storage.project import ProjectError, read_project


def open_app(project: Path | None, port: int) -> int:
    """Serves the app until Ctrl-C and returns Streamlit's exit status.

    Raises:
        ProjectError: `project` is given and is none.
    """
    if project is not None:
        read_project(project)
    main = importlib.util.find_spec("app.main")
    if main is None or main.origin is None:
        raise ProjectError("the app is not installed: install gradebook as its README says")
    command = [
        *(sys.executable, "-m", "streamlit", "run", main.origin),
        *("--server.address", "127.0.0.1", "--server.port", str(port), "--browser.gatherUsageStats", "false"),
        *("--", *([str(project)] if project else [])),
    ]
    try:
        return subprocess.call(command)
    except KeyboardInterrupt:
        return 0
