"""Atomic writes: a hidden temporary file in the same directory replaces the file when it is complete."""

import errno
import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})  # no space on the disk, in the quota, for a file
READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


def write_atomic(path: Path, content: str | bytes) -> None:
    """Writes a file; text is encoded as UTF-8.

    Raises:
        OSError: as `atomic_path`.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def write_json(path: Path, data: Any, *, indent: int | None = None) -> None:
    """Writes data as JSON; what UTF-8 cannot encode, such as bytes in a file's name, is written as JSON escapes.

    Raises:
        OSError: as `atomic_path`.
    """
    text = json.dumps(data, ensure_ascii=False, indent=indent) + "\n"
    write_atomic(path, text.encode(errors="backslashreplace"))


def is_disk_full(error: Exception) -> bool:
    """Returns whether an error means that the disk is full. Libraries in Rust give the number in their message."""
    match = re.search(r"os error (\d+)", str(error))
    number = int(match[1]) if match else getattr(error, "errno", None)
    return number in DISK_FULL


@contextmanager
def writing_cache() -> Iterator[None]:
    """Lets a file go unwritten that is computed again when it is missing, where the disk is read-only or full."""
    try:
        yield
    except OSError as error:
        if error.errno not in READ_ONLY | DISK_FULL:
            raise


@contextmanager
def atomic_path(path: Path, temporary: Path | None = None) -> Iterator[Path]:
    """Yields a temporary path to write to. At the end of the block it replaces `path`.

    After an error the temporary file is deleted, and `path` is as it was. A killed process leaves its temporary file
    behind; `gradebook verify` finds it by its name, which ends with the process id.

    Args:
        path: the file to write; its directory must exist.
        temporary: a path in the same directory, instead of one that is unique to this thread.

    Raises:
        OSError: it cannot be written, for example because the disk is full; the error names `path`.
    """
    if temporary is None:
        temporary = path.with_name(f".{path.name}.{threading.get_ident()}.{os.getpid()}")
    try:
        yield temporary
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and error.filename in (None, str(temporary)):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
