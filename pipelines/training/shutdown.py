"""How a run ends before its last step: somebody asks it to, or it fails; and what it says of that."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gradebook.pipelines import runs
from gradebook.pipelines.runs import State
from gradebook.pipelines.training import checkpoints
from gradebook.storage.project import ProjectError


@contextmanager
def stop_on_signal(stop: threading.Event) -> Iterator[None]:
    """Turns the first Ctrl-C into a `stop` after the step at hand; a second one ends the process as usual."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: object) -> None:
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in before:
            signal.signal(number, ask)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def report_failure(path: Path, steps: int) -> Iterator[None]:
    """Leaves a failure's sentence in the status of a run that has a directory, for whoever follows it from there.

    Args:
        path: the run's directory, if there is one yet.
        steps: that the run was to have.
    """
    try:
        yield
    except KeyboardInterrupt:
        _leave(path, State.STOPPED, steps, "")
        raise
    except BaseException as error:
        said = str(error) if isinstance(error, (ProjectError, OSError)) else f"{type(error).__name__}: {error}"
        _leave(path, State.FAILED, steps, said)
        raise


def _leave(path: Path, state: State, steps: int, message: str) -> None:
    if (path / runs.STATUS).exists():
        done = checkpoints.newest_step(path / "checkpoints")
        runs.write_status(path, runs.status_now(state, pid=0, step=done, steps=steps, message=message))
