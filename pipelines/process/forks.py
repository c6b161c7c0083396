"""Functions run in forked processes, one core each.

Small networks gain nothing from a second thread, but two of them can train at once.
"""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

Item = TypeVar("Item")
Result = TypeVar("Result")

POLL_INTERVAL_S = 1.0


def can_fork() -> bool:
    """Returns whether this system can run a function in a copy of this process; Windows and macOS cannot safely."""
    import sys

    return sys.platform == "linux"


def map_in_forks(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Returns the function's result for each item; each runs in a copy of this process, as many at once as cores.

    A copy ends with this process, even if that is killed.

    Args:
        function: sees this process's memory as it is now, and changes none of it; must not use a GPU.
        items: at least one.

    Raises:
        RuntimeError: a process ended without a result; its traceback is on standard error.
    """

    def compute(item: Item, sender: "Connection") -> None:
        threading.Thread(target=_exit_with, args=(parent,), name="parent", daemon=True).start()
        sender.send(function(item))

    def run(item: Item) -> Result:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=compute, args=(item, sender), daemon=True)
        process.start()
        sender.close()
        try:
            result: Result = receiver.recv()
        except EOFError:
            process.join()
            raise RuntimeError(f"a process of this training ended with exit code {process.exitcode}") from None
        process.join()
        return result

    context, parent = multiprocessing.get_context("fork"), os.getpid()
    with ThreadPoolExecutor(min(len(items), os.cpu_count() or 1)) as pool:
        return list(pool.map(run, items))


def _exit_with(parent: int) -> None:
    while os.getppid() == parent:  # an orphan gets another parent
        time.sleep(POLL_INTERVAL_S)
    os._exit(1)
