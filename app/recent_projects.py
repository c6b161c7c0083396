"""The projects that this user opened last, in the file `recent.json` of their own settings, for the page Welcome."""

import json
import os
from contextlib import suppress
from pathlib import Path

from gradebook.storage.files import write_json
from gradebook.storage.project import SETTINGS

FILE = "recent.json"
MAX_PROJECTS = 8


def remember(root: Path) -> None:
    """Puts a project first. A user without a writable home has no recent projects."""
    paths = [str(root), *(path for path in _read() if path != str(root))]
    with suppress(OSError, RuntimeError):
        _file().parent.mkdir(parents=True, exist_ok=True)
        write_json(_file(), paths[:MAX_PROJECTS], indent=1)


def recent() -> list[Path]:
    """Returns the projects that were opened last and are still there, the newest first."""
    roots = [Path(path) for path in _read()]
    projects = []
    for root in roots:
        with suppress(OSError):
            projects += [root] if (root / SETTINGS).is_file() else []
    return projects


def _read() -> list[str]:
    try:
        paths = json.loads(_file().read_text(encoding="utf-8"))
        return [path for path in paths if isinstance(path, str)] if isinstance(paths, list) else []
    except (OSError, ValueError, RuntimeError):  # RuntimeError: this user has no home
        return []


def _file() -> Path:
    home = os.environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / "gradebook" / FILE
