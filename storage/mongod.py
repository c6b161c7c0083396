"""Which mongod FiftyOne can use on this machine, and until when its release gets security fixes."""

import importlib.util
import os
import re
import shutil
import subprocess
from datetime import date
from pathlib import Path
from typing import Any

from gradebook.storage.install_advice import install_command
from gradebook.storage.project import ProjectError

URI = "FIFTYONE_DATABASE_URI"
TIMEOUT_S = 10.0  # of `mongod --version`
END_OF_LIFE = {  # release -> the last day with security fixes: https://www.mongodb.com/legal/support-policy/lifecycles
    (6, 0): date(2025, 7, 31),
    (7, 0): date(2026, 8, 31),
    (8, 0): date(2029, 10, 31),
}


class NoDatabase(ProjectError):  # noqa: N818 - a condition of this machine
    """FiftyOne has no MongoDB here; the message says how to get one."""


def find_mongods() -> list[Path]:
    """Returns FiftyOne's own mongod and the one on the PATH, the newer one first.

    Raises:
        NoDatabase: there is none.
    """
    package = importlib.util.find_spec("fiftyone")
    folders = (package.submodule_search_locations or []) if package else []
    candidates = [Path(folder) / "db" / "bin" / "mongod" for folder in folders]
    candidates = [path for path in candidates if os.access(path, os.X_OK)]
    if on_path := shutil.which("mongod"):
        candidates.append(Path(on_path))
    if not candidates:
        raise NoDatabase(
            f"FiftyOne needs MongoDB and there is none: install it with `{install_command('mongodb')}` "
            f"(x86-64 Linux), put a mongod on the PATH, or set {URI} to a server of yours"
        )
    return sorted(candidates, key=_version, reverse=True) if len(candidates) > 1 else candidates


def _version(mongod: Path) -> tuple[int, ...]:
    """Returns the version of a mongod, () if it does not say."""
    try:
        done = subprocess.run([mongod, "--version"], capture_output=True, text=True, timeout=TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    match = re.search(r"version v(\d+)\.(\d+)\.(\d+)", done.stdout)
    return tuple(map(int, match.groups())) if match else ()


def version_warning(uri: str, today: date | None = None) -> str | None:
    """Returns a sentence if the server's release gets no security fixes any more, None if it does or is unknown."""
    from pymongo import MongoClient

    client: MongoClient[dict[str, Any]]
    with MongoClient(uri) as client:
        version = str(client.server_info()["version"])
    end = END_OF_LIFE.get(_release(version))
    if end is None or (today or date.today()) <= end:
        return None
    return (
        f"MongoDB {version} has had no security fixes since {end:%B %Y}: for a newer one put a mongod on the PATH, "
        f"or set {URI} to a server of yours"
    )


def _release(version: str) -> tuple[int, int]:
    major, minor, *_ = map(int, re.findall(r"\d+", version))
    return major, minor
