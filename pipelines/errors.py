"""Errors at the boundary: what a user can mend becomes one sentence, what only we can mend keeps its traceback."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from storage.project import ProjectError

FAILED = 2  # exit status
INTERRUPTED = 130  # exit status, by the shell's custom for Ctrl-C


@contextmanager
def one_sentence() -> Iterator[None]:
    """Ends the program with one sentence on standard error where a command cannot be done."""
    try:
        yield
    except ProjectError as error:
        _end(str(error), FAILED)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123  # whoever read our output, say `head`, has enough
        raise SystemExit(0) from None
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        _end(f"{error.strerror or error}{where}", FAILED)
    except KeyboardInterrupt:
        _end("stopped; what was done is kept: the same command goes on from it, a training with --resume", INTERRUPTED)


def _end(sentence: str, status: int) -> None:
    print(f"gradebook: {sentence}", file=sys.stderr, flush=True)
    raise SystemExit(status)
