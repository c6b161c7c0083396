"""The progress and result files of a job.

`gradebook.pipelines.jobs.launcher.start` sets the environment variable `GRADEBOOK_JOB` to the job's directory. The
command that runs there writes two files into it:

    progress.json  what it is doing, how much of that is done, and how much there is
    answer.json    its result, as with --json
"""

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradebook.storage.files import write_json

JOB = "GRADEBOOK_JOB"  # environment variable: the directory of the job that this process runs in
PROGRESS = "progress.json"
ANSWER = "answer.json"
MIN_INTERVAL_S = 0.2  # between two writes


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The progress of a job."""

    what: str  # the current stage, such as import
    done: int
    total: int  # 0 if it is not known


def job_directory() -> Path | None:
    """Returns the directory of the job that this process runs in, None outside of jobs."""
    directory = os.environ.get(JOB)
    return Path(directory) if directory else None


def progress_writer(directory: Path, title: str, total: int = 0) -> Callable[..., None]:
    """Returns a function `show(done, total, what)` that writes the progress, five times a second at most."""
    last, known_total, stage = -MIN_INTERVAL_S, total, title

    def show(done: int, total: int | None = None, what: str | None = None) -> None:
        nonlocal last, known_total, stage
        changed = what not in (None, stage) or total not in (None, known_total)
        known_total, stage = known_total if total is None else total, what or stage
        if changed or done >= known_total or time.monotonic() - last >= MIN_INTERVAL_S:
            write_json(directory / PROGRESS, {"what": stage, "done": done, "total": known_total})
            last = time.monotonic()

    return show


def write_answer(value: Mapping[str, Any]) -> None:
    """Writes a command's result for its job, if it runs in one."""
    if (directory := job_directory()) is not None:
        write_json(directory / ANSWER, value)


def read_progress(directory: Path) -> Progress | None:
    """Returns the progress of the job in `directory`, None before the first report."""
    value = _read(directory / PROGRESS)
    return None if value is None else Progress(what=value["what"], done=value["done"], total=value["total"])


def read_answer(directory: Path) -> dict[str, Any] | None:
    """Returns the result of the job in `directory`, None if it runs or failed."""
    return _read(directory / ANSWER)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return value
