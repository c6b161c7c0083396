"""Processes for tests, forked from one server that has imported what takes a process of its own ten seconds.

All tests share the server: the one who starts it decides for all what it has imported.
"""

import multiprocessing
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["accelerate", "pytest", "timm", "tests.kill_workers", "tests.mpl.shards"])


@contextmanager
def forked(work: Callable[..., None], *given: Any) -> Iterator[BaseProcess]:
    """Runs a function in a process, which ends with the block."""
    process = FORKS.Process(target=_by_itself, args=(work, *given))
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def _by_itself(work: Callable[..., None], *given: Any) -> None:
    """Forks its own processes, as a program does; on busy cores, threads that wait for each other take minutes."""
    import torch

    multiprocessing.set_start_method("fork", force=True)
    torch.set_num_threads(1)
    work(*given)


def together(size: int, work: Callable[..., None], *given: Any) -> list[int | None]:
    """Runs a function in processes that accelerate takes for those of one launch; returns their exit codes.

    Where one fails the others are killed, as a launcher does.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with ExitStack() as block:
        running = [block.enter_context(forked(_as_one_of, rank, size, port, work, given)) for rank in range(size)]
        while alive := [process.sentinel for process in running if process.exitcode is None]:
            assert wait(alive, timeout=240), "a process hangs"
            if any(process.exitcode for process in running):
                break
    return [process.exitcode for process in running]


def _as_one_of(rank: int, size: int, port: int, work: Callable[..., None], given: tuple[Any, ...]) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}
    work(*given)


def program(main: Callable[[list[str]], int], arguments: list[str], output: Path) -> None:
    """Runs a program in a process group of its own, as a terminal does; prints to the files `output`.out and .err."""
    os.setsid()
    for number, suffix in ((1, ".out"), (2, ".err")):
        with output.with_suffix(suffix).open("w") as file:
            os.dup2(file.fileno(), number)
    sys.exit(main(arguments))
