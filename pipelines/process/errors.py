"""Errors of commands: one sentence for what a user can fix, a traceback for bugs."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from json import JSONDecodeError
from types import FrameType

from gradebook.pipelines.process.job_files import job_directory
from gradebook.storage.characters import escaped
from gradebook.storage.files import READ_ONLY, is_disk_full
from gradebook.storage.images import BrokenImage
from gradebook.storage.project import ProjectError

FAILED = 2  # exit status
LIBRARIES_OF_FILES = frozenset({"lance", "pyarrow", "safetensors_rust", "zipfile", "zlib"})
RUST_PANIC = "RustPanic"  # LanceDB's, for some damage; it cannot be imported
MAX_QUOTED = 200  # characters of another library's message
NO_SPACE = "no space left to write to {}: free some, then do it again"
INTERRUPTED = 130  # exit status that shells use for Ctrl-C
STOPPED = "stopped; finished work is saved: run the same command again to continue, a training with --resume"


@contextmanager
def exit_with_message() -> Iterator[None]:
    """Turns an error that a user can fix into one sentence on standard error and an exit status."""
    try:
        yield
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123  # the reader of our output, such as `head`, has stopped
        raise SystemExit(0) from None
    except KeyboardInterrupt:
        _end(STOPPED, INTERRUPTED)
    except Exception as error:
        sentence = describe(error)
        if sentence is None:
            raise
        _end(sentence, FAILED)


@contextmanager
def project_errors() -> Iterator[None]:
    """Turns an error that a user can fix into a ProjectError with the sentence that a command would print."""
    try:
        yield
    except (ProjectError, BrokenImage):
        raise
    except Exception as error:
        sentence = describe(error)
        if sentence is None:
            raise
        raise ProjectError(sentence) from error


def describe(error: Exception) -> str | None:
    """Returns the sentence for an error that a user can fix, None for one that is a bug."""
    if isinstance(error, ProjectError):
        return str(error)
    filename = error.filename if isinstance(error, OSError) else None
    if is_disk_full(error):
        return NO_SPACE.format(filename or "the disk")
    if is_of_damaged_file(error):
        return _describe_damage(error)
    if isinstance(error, OSError):
        advice = ": give yourself access to it, or work on a copy" if filename and error.errno in READ_ONLY else ""
        return f"{error.strerror or error}" + (f" ({filename})" if filename else "") + advice
    return None


def is_of_damaged_file(error: Exception) -> bool:
    """Returns whether an error means that a library refuses the content of a file."""
    of_library = type(error).__module__.partition(".")[0] in LIBRARIES_OF_FILES or type(error).__name__ == RUST_PANIC
    return of_library or "lance error" in str(error) or isinstance(error, (JSONDecodeError, UnicodeDecodeError))


@contextmanager
def stop_immediately(cleanup: Callable[[], None]) -> Iterator[None]:
    """Lets a job end immediately when it is asked to stop in the block, even inside a library's long call.

    Args:
        cleanup: removes partial results.
    """
    if job_directory() is None:  # on a terminal the progress bar is cleared first
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        cleanup()
        print(f"gradebook: {STOPPED}", file=sys.stderr, flush=True)
        os._exit(INTERRUPTED)

    before = signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def quote(error: Exception) -> str:
    """Returns the beginning of another library's message, on one line."""
    return " ".join(str(error).split())[:MAX_QUOTED]


def _describe_damage(error: Exception) -> str:
    return f"a file cannot be read ({quote(error)}): gradebook verify PROJECT says which and what can be done about it"


def _end(sentence: str, status: int) -> None:
    print(f"gradebook: {escaped(sentence)}", file=sys.stderr, flush=True)
    raise SystemExit(status)
