"""How a run ends early: on a signal, or by an error, and the status that it leaves."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gradebook.pipelines.process.run_status import STATUS, State, status_now, write_status
from gradebook.pipelines.training import checkpoints
from gradebook.storage.project import ProjectError


@contextmanager
def stop_on_signal(stop: threading.Event) -> Iterator[None]:
    """Sets `stop` at the first Ctrl-C, so that the run stops after its step; a second one ends the process as usual."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def request(number: int, frame: object) -> None:
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in before:
            signal.signal(number, request)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def report_failure(path: Path, steps: int) -> Iterator[None]:
    """Writes the message of an error into the run's status, if the run has a directory.

    Args:
        path: the run's directory, which may not exist yet.
        steps: planned steps of the run.
    """
    try:
        yield
    except KeyboardInterrupt:
        _write(path, State.STOPPED, steps, "")
        raise
    except BaseException as error:
        message = str(error) if isinstance(error, (ProjectError, OSError)) else f"{type(error).__name__}: {error}"
        _write(path, State.FAILED, steps, message)
        raise


def _write(path: Path, state: State, steps: int, message: str) -> None:
    if (path / STATUS).exists():
        done = checkpoints.newest_step(path / "checkpoints")
        write_status(path, status_now(state, pid=0, step=done, steps=steps, message=message))
