"""Atomic writes: a hidden temporary file in the same directory replaces the file when it is complete."""

import ctypes
import errno
import json
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})  # no space on the disk, in the quota, for a file
READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
UNSUPPORTED = frozenset({errno.EPERM, errno.ENOSYS, errno.EINVAL, errno.ENOTSUP})  # by this system or file system
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of Linux's renameat2(2)
RENAME_SWAP = 2  # of macOS's renamex_np(2)


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


def create_exclusive(path: Path, content: str | bytes) -> bool:
    """Creates a file with its content; returns False, and changes nothing, if there is something at its path already.

    Raises:
        OSError: it cannot be written.
    """
    temporary = _temporary(path)
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        if os.path.lexists(path):
            return False
        temporary.rename(path)  # a file system without hard links
    finally:
        temporary.unlink(missing_ok=True)
    return True


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
        temporary = _temporary(path)
    try:
        yield temporary
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and error.filename in (None, str(temporary)):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def exchange(first: Path, second: Path) -> None:
    """Exchanges two paths of one file system, so that neither is ever missing.

    On systems without such a call, `second` is missing for a moment.

    Raises:
        OSError: one of them does not exist, or may not be renamed.
    """
    if _exchange_atomically(first, second):
        return
    aside = _temporary(second)
    second.rename(aside)
    try:
        first.rename(second)
    except OSError:
        aside.rename(second)
        raise
    aside.rename(first)


def _exchange_atomically(first: Path, second: Path) -> bool:
    """Exchanges two paths by Linux's renameat2(2) or macOS's renamex_np(2); returns whether the system has it."""
    if os.name == "nt":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    paths = os.fsencode(first), os.fsencode(second)
    try:
        if sys.platform == "darwin":
            failed = libc.renamex_np(*paths, ctypes.c_uint(RENAME_SWAP))
        else:
            failed = libc.renameat2(AT_FDCWD, paths[0], AT_FDCWD, paths[1], ctypes.c_uint(RENAME_EXCHANGE))
    except AttributeError:  # this C library does not have it
        return False
    if not failed:
        return True
    error = ctypes.get_errno()
    if error in UNSUPPORTED:
        return False
    raise OSError(error, os.strerror(error), str(second))


def _temporary(path: Path) -> Path:
    """Returns a hidden path beside another, which only this thread uses."""
    return path.with_name(f".{path.name}.{threading.get_ident()}.{os.getpid()}")
