"""Whether a process is still running. A process id alone is not enough, because the system reuses ids."""

import os
from datetime import datetime

import psutil

CLOCK_TOLERANCE_S = 60.0  # between the system's start time of a process and our clock


def alive(pid: int, *, seen: datetime) -> bool:
    """Returns whether the process that had the id `pid` at the time `seen` is running. A zombie is not."""
    try:
        process = psutil.Process(pid)
        return bool(
            process.create_time() <= seen.timestamp() + CLOCK_TOLERANCE_S and process.status() != psutil.STATUS_ZOMBIE
        )
    except (psutil.NoSuchProcess, ValueError):  # ValueError: no process can have this id
        return False
    except psutil.AccessDenied:
        return True


def process_group(leader: int) -> list[int]:
    """Returns the ids of the processes in the group that `leader` leads or led, without zombies."""
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
