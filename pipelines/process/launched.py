"""Processes that a launcher started, such as those of `accelerate launch`, end with it."""

import os
import signal
import threading
import time
from pathlib import Path

import psutil

LAUNCHERS = ("accelerate", "torchrun", "torch.distributed")  # how their programs and modules are named
POLL_INTERVAL_S = 1.0
STOP_TIMEOUT_S = 600.0  # for a process to finish its step and save a checkpoint


def stop_with_launcher() -> None:
    """Stops this process by SIGTERM once the launcher that started it has ended, even by a kill.

    Without it, the workers of a killed launcher would train on. A process that does not stop in ten minutes is
    signalled again, and then ends. Does nothing for a process that a shell or another program started.
    """
    parent = os.getppid()
    if _is_launcher(parent):
        threading.Thread(target=_watch, args=(parent,), name="launcher", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:  # an orphan gets another parent
        time.sleep(POLL_INTERVAL_S)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(STOP_TIMEOUT_S)
    os.kill(os.getpid(), signal.SIGTERM)


def _is_launcher(pid: int) -> bool:
    try:
        arguments = psutil.Process(pid).cmdline()
    except psutil.Error:
        return False
    return any(Path(argument).name.startswith(LAUNCHERS) for argument in arguments[:4])
