"""What a command tells whoever follows its job: how far it is, and at the end its answer.

`gradebook.pipelines.jobs.launcher.start` names the job's directory in the environment; two files in it, written whole,
are the telling:

    progress.json  what is being done, how much of it is done, and how much there is
    answer.json    what the command answers with --json
"""

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradebook.storage.files import write_json

JOB = "GRADEBOOK_JOB"  # environment: the directory of the job that runs us
PROGRESS = "progress.json"
ANSWER = "answer.json"
PAUSE = 0.2  # seconds between two tellings


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a job is."""

    what: str  # what it is doing, such as import
    done: int
    total: int  # 0 where it is not known


def job_directory() -> Path | None:
    """Returns the directory of the job that runs this process, None where it is none."""
    told = os.environ.get(JOB)
    return Path(told) if told else None


def progress_writer(directory: Path, title: str, total: int = 0) -> Callable[..., None]:
    """Returns a function `show(done, total, what)` that writes how far we are, five times a second at most."""
    last, whole, doing = -PAUSE, total, title

    def show(done: int, total: int | None = None, what: str | None = None) -> None:
        nonlocal last, whole, doing
        news = what not in (None, doing) or total not in (None, whole)
        whole, doing = whole if total is None else total, what or doing
        if news or done >= whole or time.monotonic() - last >= PAUSE:
            write_json(directory / PROGRESS, {"what": doing, "done": done, "total": whole})
            last = time.monotonic()

    return show


def write_answer(value: Mapping[str, Any]) -> None:
    """Leaves a command's answer with its job, if it is one."""
    if (directory := job_directory()) is not None:
        write_json(directory / ANSWER, value)


def read_progress(directory: Path) -> Progress | None:
    """Returns how far the job in `directory` is; None before it has said so."""
    value = _read(directory / PROGRESS)
    return None if value is None else Progress(what=value["what"], done=value["done"], total=value["total"])


def read_answer(directory: Path) -> dict[str, Any] | None:
    """Returns what the job in `directory` answered; None before that, or where it failed."""
    return _read(directory / ANSWER)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return value
