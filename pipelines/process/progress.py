"""Progress of a command: a bar on a terminal, a file in a job, and a line every ten seconds otherwise."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gradebook.pipelines.process.job_files import job_directory, progress_writer
from gradebook.pipelines.process.terminal import safe_text

LINE_INTERVAL_S = 10.0  # between two lines where no terminal shows a bar

Show = Callable[..., None]


@contextmanager
def progress(title: str, total: int | None = None) -> Iterator[Show]:
    """Provides a function `show(done, total, what)` that reports progress."""
    if (directory := job_directory()) is not None:
        yield progress_writer(directory, title, total or 0)
        return
    if not sys.stderr.isatty():
        yield _line_writer(title, total)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(title, total=total)

        def show(done: int, total: int | None = None, what: str | None = None) -> None:
            known = {"total": total, "description": what}
            bars.update(task, completed=done, **{k: v for k, v in known.items() if v is not None})  # type: ignore[arg-type]

        yield show


def _line_writer(title: str, total: int | None) -> Show:
    """Returns a function `show(done, total, what)` that prints a line if the last one is ten seconds old."""
    last, known_total, task = time.monotonic(), total, title

    def show(done: int, total: int | None = None, what: str | None = None) -> None:
        nonlocal last, known_total, task
        known_total, task = total or known_total, what or task
        if time.monotonic() - last >= LINE_INTERVAL_S:
            last = time.monotonic()
            say(f"{task}: {done:,}" + (f" of {known_total:,}" if known_total else ""))

    return show


def stage(words: str) -> None:
    """Reports a stage whose length is not known, such as loading, if this process runs in a job."""
    if (directory := job_directory()) is not None:
        progress_writer(directory, words)(0)


def say(sentence: str) -> None:
    """Prints a sentence on standard error, so that standard output has nothing but the result."""
    print(safe_text(sentence), file=sys.stderr, flush=True)


def silence_libraries() -> None:
    """Silences warnings of libraries that are meant for developers."""
    import logging
    import warnings

    warnings.filterwarnings("ignore", message=r".*torch\.jit.*", category=FutureWarning)
    # Processes that decode images are forked from ours and never touch the tables.
    warnings.filterwarnings("ignore", message="lancedb fork support", category=RuntimeWarning)
    for library in ("torch.onnx", "onnxscript"):
        logging.getLogger(library).setLevel(logging.ERROR)
