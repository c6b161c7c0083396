"""Progress: bars on standard error for a person who waits, a file for whoever follows a job, silence for a program."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gradebook.pipelines.process.job_files import job_directory, progress_writer

Show = Callable[..., None]


@contextmanager
def progress(title: str, total: int | None = None) -> Iterator[Show]:
    """Lends a function `show(done, total, what)`: a job tells its followers, a terminal gets a bar, others nothing."""
    if (directory := job_directory()) is not None:
        yield progress_writer(directory, title, total or 0)
        return
    if not sys.stderr.isatty():
        yield lambda done, total=None, what=None: None
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


def stage(words: str) -> None:
    """Tells whoever follows this job what has begun, where it is not known how much of it there is, such as a start."""
    if (directory := job_directory()) is not None:
        progress_writer(directory, words)(0)


def say(sentence: str) -> None:
    """Prints a sentence for the person, on standard error so that a program's standard output stays clean."""
    print(sentence, file=sys.stderr, flush=True)


def silence_libraries() -> None:
    """Silences what libraries say to developers of libraries, so that a person reads what concerns them."""
    import logging
    import warnings

    warnings.filterwarnings("ignore", message=r".*torch\.jit.*", category=FutureWarning)
    # Processes that decode images are forked from ours and never touch the tables.
    warnings.filterwarnings("ignore", message="lancedb fork support", category=RuntimeWarning)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
