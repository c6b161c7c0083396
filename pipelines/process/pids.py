"""Whether a process that some file speaks of still lives: a process id alone is not enough, ids are used again."""

import os
from datetime import datetime

import psutil

CLOCKS = 60.0  # seconds by which the system's tale of a process's start may differ from ours


def alive(pid: int, *, seen: datetime) -> bool:
    """Returns whether the process that had the id `pid` at the time `seen` still runs (a zombie does not)."""
    try:
        process = psutil.Process(pid)
        return bool(process.create_time() <= seen.timestamp() + CLOCKS and process.status() != psutil.STATUS_ZOMBIE)
    except (psutil.NoSuchProcess, ValueError):  # ValueError: not an id any process can have
        return False
    except psutil.AccessDenied:
        return True


def process_group(leader: int) -> list[int]:
    """Returns the ids of the processes in the group that `leader` leads or led, zombies left out."""
    return [pid for pid in psutil.pids() if _group_of(pid) == leader and not _is_zombie(pid)]


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:
        return None


def _is_zombie(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return True
