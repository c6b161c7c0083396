"""Drafts of ours that a kill left: each file is written under a hidden name first. None of them is ever read."""

import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil

from gradebook.pipelines.maintenance.checks.finding import Finding, Subject
from gradebook.pipelines.runs import ACTIVE_STATES, PREDICTIONS
from gradebook.pipelines.training.student import WEIGHTS
from gradebook.storage import cache_files
from gradebook.storage.project import SETTINGS

OF_PROJECT = (
    *(f".{SETTINGS}.*", ".map.npz.*", ".overview.json.*", ".leases.json.[0-9]*", "selections/.*.json.*"),
    *("servers/.*.json.*", "mongo/.*.json.*", "unpacked/.*.csv.*", *cache_files.TEMP_FILES),
)
OF_RUN = (
    *(".*.json", ".*.json.*", ".*.npz.*", ".*.arrow.*", ".exit.*"),
    *(f".{name}{end}" for name in (PREDICTIONS, WEIGHTS) for end in ("", ".*")),
)
OF_PARTS = ("record/.rank*-*.tmp", "record/.rank*-*.parquet.*", "checkpoints/.step-*")
YOUNG = 60.0  # seconds in which somebody may still be about to use what they made


def drafts(subject: Subject) -> Iterator[Finding]:
    """Nothing is half written, but for what a process writes at this moment."""
    root = subject.store.project.root
    found = [path for pattern in OF_PROJECT for path in root.glob(pattern) if not _is_writing(path)]
    going = {run.path for run in subject.every_run if run.status().state in ACTIVE_STATES}
    for place in [*(root / "runs").glob("*"), *(root / "jobs").glob("*")]:
        if place not in going:
            found += [path for pattern in (*OF_RUN, *OF_PARTS) for path in place.glob(pattern) if not _is_writing(path)]
    if found:
        yield Finding(
            what=f"{len(found)} files were half written when their process ended",
            where=tuple(map(str, sorted(found))),
            mend="verify with --mend, which deletes them: what they were to replace is as it was",
            mending=partial(_delete, found),
        )


def empty_directories(subject: Subject) -> Iterator[Finding]:
    """No run or job has an empty directory, which one leaves that is killed before it begins."""
    root = subject.store.project.root
    places = [path for name in ("runs", "jobs") for path in (root / name).glob("*") if path.is_dir()]
    empty = [path for path in places if not any(path.iterdir()) and time.time() - path.stat().st_mtime > YOUNG]
    if empty:
        yield Finding(
            what=f"{len(empty)} runs or jobs ended before they began",
            where=tuple(map(str, sorted(empty))),
            mend="verify with --mend, which removes the empty directories",
            mending=partial(_delete, empty),
        )


def _is_writing(path: Path) -> bool:
    """Returns whether the process whose id ends the name is there."""
    number = path.suffix[1:]
    return number.isdecimal() and psutil.pid_exists(int(number))


def _delete(paths: list[Path]) -> None:
    for path in paths:
        if path.is_dir() and path.parent.name != "checkpoints":
            path.rmdir()  # only while it is empty
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
