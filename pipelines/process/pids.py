"""Identifies processes. An id alone is not enough, because the system reuses ids."""

import os
import signal
import socket
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path

import psutil

CLOCK_TOLERANCE_S = 60.0  # between the system's start time of a process and our clock
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
PID_NAMESPACE = Path("/proc/self/ns/pid")  # containers count processes by themselves
START_TIME_FIELD = 21  # of /proc/PID/stat, from 0: see proc(5)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessId:
    """A process on one machine between two of its restarts."""

    host: str
    boot: str  # id of the restart, and of the container
    pid: int
    started: float  # clock ticks since the restart on Linux, seconds since 1970 elsewhere

    def __str__(self) -> str:
        """Returns its name in messages."""
        return f"process {self.pid} on {self.host}"

    @property
    def is_here(self) -> bool:
        """Whether it was a process of this machine, or container, since its last restart."""
        return (self.host, self.boot) == (socket.gethostname(), boot_id())

    @property
    def is_running(self) -> bool:
        """Whether it is a process of this machine that still runs. A zombie does not."""
        return self.is_here and _start_time(self.pid) == self.started and not _is_zombie(self.pid)

    @property
    def has_ended(self) -> bool:
        """Whether it has certainly ended. Of a process on another machine nothing is known."""
        return self.host == socket.gethostname() and not self.is_running


def this_process() -> ProcessId:
    """Returns the id of this process."""
    own = identify(os.getpid())
    assert own is not None
    return own


def identify(pid: int) -> ProcessId | None:
    """Returns the full id of the process that has the id `pid` now, None if there is none."""
    started = _start_time(pid)
    return None if started is None else ProcessId(host=socket.gethostname(), boot=boot_id(), pid=pid, started=started)


def send_signal(process: ProcessId, number: signal.Signals) -> None:
    """Sends a signal to a process of this machine; does nothing if it has ended, even if another has its id now."""
    if not process.is_running:
        return
    with suppress(ProcessLookupError):
        try:
            handle = os.pidfd_open(process.pid)  # from here on no other process can be meant
        except ProcessLookupError:
            return
        except (AttributeError, OSError):  # a system without such handles
            os.kill(process.pid, number)
            return
        try:
            if process.is_running:
                signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)


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


def group_with_variable(leader: int, name: str, value: str) -> list[ProcessId]:
    """Returns the processes of a group that were started with an environment variable, without zombies.

    Processes whose environment cannot be read, such as those of other users, are left out.

    Args:
        leader: the process that leads or led the group.
        name: of the variable.
        value: of the variable.
    """
    if leader <= 1:  # kernel threads, or the system's first process
        return []
    members = [identify(pid) for pid in psutil.pids() if _group_of(pid) == leader and not _is_zombie(pid)]
    return [process for process in members if process is not None and _has_variable(process.pid, name, value)]


@cache
def boot_id() -> str:
    """Returns an id of this machine since its last restart; a container has one of its own."""
    if BOOT_ID.exists():
        namespace = PID_NAMESPACE.readlink() if PID_NAMESPACE.is_symlink() else ""
        return f"{BOOT_ID.read_text().strip()} {namespace}".strip()
    command = ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"]  # macOS; its boot time changes with the clock
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return f"{psutil.boot_time():.0f}"


def _start_time(pid: int) -> float | None:
    """Returns when a process started, in the unit of `ProcessId`, None if there is none.

    On Linux in clock ticks since the restart: the time of day changes when the clock is set.
    """
    if BOOT_ID.exists():
        try:
            stat = Path(f"/proc/{pid}/stat").read_bytes()
        except (OSError, ValueError):
            return None
        return float(stat.rpartition(b")")[2].split()[START_TIME_FIELD - 2])
    try:
        return float(psutil.Process(pid).create_time())
    except (psutil.Error, ValueError):
        return None


def _has_variable(pid: int, name: str, value: str) -> bool:
    """Returns whether a process was started with a variable; also for one that is ending, whose memory is gone."""
    try:
        process = psutil.Process(pid)
        environment = process.environ()
        return environment.get(name) == value or not (environment or process.cmdline())
    except (psutil.Error, OSError):
        return False


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
