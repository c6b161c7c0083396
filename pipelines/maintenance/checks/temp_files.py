"""Temporary files that killed processes left. Files are written under a hidden name first, which nothing reads."""

import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil

from gradebook.pipelines.maintenance.checks.finding import Finding, Subject
from gradebook.pipelines.process.owner import LOCK, OWNER, check_unowned
from gradebook.pipelines.process.run_status import ACTIVE_STATES
from gradebook.pipelines.runs import PREDICTIONS, SNAPSHOTS
from gradebook.pipelines.training.student import WEIGHTS
from gradebook.storage import cache_files, log_chain, table_checksums
from gradebook.storage.project import SETTINGS, ProjectError

OF_PROJECT = (
    *(
        f".{SETTINGS}.*",
        ".map.npz.*",
        ".overview.json.*",
        ".forecast.json.*",
        ".near_leaks.json.*",
        ".leases.json.[0-9]*",
        "selections/.*.json.*",
        "audits/.*.json.*",
        ".deleted_runs.json.*",
    ),
    *(
        "servers/.*.json.*",
        "session/.*.json.*",
        "mongo/.*.json.*",
        "unpacked/.*.csv.*",
        f"lance/.{log_chain.FILE}.*",
        f"lance/.*{table_checksums.SUFFIX}.*",
    ),
)
OF_RUN = (
    *(".*.json", ".*.json.*", ".*.npz.*", ".*.arrow.*", ".exit.*"),
    *(f".{name}{end}" for name in (PREDICTIONS, WEIGHTS) for end in ("", ".*")),
)
OF_PARTS = ("record/.rank*-*.tmp", "record/.rank*-*.parquet.*", "checkpoints/.step-*", f"{SNAPSHOTS}/.*")
MIN_AGE_S = 60.0  # of an empty directory: a younger one may be about to be used


def drafts(subject: Subject) -> Iterator[Finding]:
    """There are no temporary files, except those of running processes."""
    root = subject.store.project.root
    leftovers = [path for pattern in (*OF_PROJECT, *cache_files.TEMP_FILES) for path in root.glob(pattern)]
    active = {run.path for run in subject.every_run if run.status().state in ACTIVE_STATES}
    for directory in [*(root / "runs").glob("*"), *(root / "jobs").glob("*")]:
        if directory not in active:
            leftovers += [p for pattern in (*OF_RUN, *OF_PARTS) for p in directory.glob(pattern)]
    leftovers = [path for path in leftovers if not _is_being_written(path)]
    if leftovers:
        yield Finding(
            problem=f"{len(leftovers)} temporary files were left by processes that were killed",
            where=tuple(map(str, sorted(leftovers))),
            advice="run verify --repair, which deletes them: the files that they were to replace are as they were",
            repair=partial(_delete, leftovers),
        )


def empty_directories(subject: Subject) -> Iterator[Finding]:
    """No run or job has an empty directory, as one that is killed before it starts leaves it."""
    root = subject.store.project.root
    directories = [path for name in ("runs", "jobs") for path in (root / name).glob("*") if path.is_dir()]
    empty = [d for d in directories if _is_empty(d) and time.time() - d.stat().st_mtime > MIN_AGE_S]
    if empty:
        yield Finding(
            problem=f"{len(empty)} runs or jobs ended before they started, and left an empty directory",
            where=tuple(map(str, sorted(empty))),
            advice="run verify --repair, which removes the empty directories",
            repair=partial(_delete, empty),
        )


def _is_empty(directory: Path) -> bool:
    """Returns whether a directory has nothing but the claim of a process that has ended."""
    try:
        check_unowned(directory)
    except ProjectError:
        return False
    return {path.name for path in directory.iterdir()} <= {OWNER, LOCK}


def _is_being_written(path: Path) -> bool:
    """Returns whether the process whose id ends the name is running."""
    pid = path.suffix[1:]
    return pid.isdecimal() and psutil.pid_exists(int(pid))


def _delete(paths: list[Path]) -> None:
    for path in paths:
        if path.is_dir() and path.parent.name not in ("checkpoints", SNAPSHOTS):
            for name in (OWNER, LOCK):
                (path / name).unlink(missing_ok=True)
            path.rmdir()  # only if it is still empty
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
