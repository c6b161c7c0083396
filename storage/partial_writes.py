"""Finds files of LanceDB tables that were written only in part, and takes the write back.

If the disk becomes full while LanceDB 0.40 writes the end of a data file, it can still commit the version. The write
seems to have succeeded, but the table can no longer be read. Files of Lance and Arrow end with the name of their
format, so a file without it is incomplete.
"""

import errno
import os
from pathlib import Path

HINT = "_versions/latest_version_hint.json"  # LanceDB writes it again with the next version
ENDS = {".lance": b"LANC", ".manifest": b"LANC", ".idx": b"LANC", ".arrow": b"ARROW1"}  # by suffix
PATTERNS = ("data/*.lance", "_versions/*.manifest", "_deletions/*.arrow", "_indices/*/*.lance", "_indices/*/*.idx")


def list_files(table: Path) -> set[Path]:
    """Returns the files of a table's directory whose end tells whether they are whole."""
    return {path for pattern in PATTERNS for path in table.glob(pattern)}


def check_new(table: Path, known: set[Path]) -> None:
    """Checks the files that were written since `list_files` returned `known`.

    Raises:
        OSError: one of them is not whole, as on a full disk. The versions written since have been taken back.
    """
    new = list_files(table) - known
    if all(map(_is_whole, new)):
        return
    for path in sorted(new, reverse=True):
        if path.suffix == ".manifest":
            path.unlink(missing_ok=True)
    (table / HINT).unlink(missing_ok=True)
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(table))


def _is_whole(path: Path) -> bool:
    end = ENDS[path.suffix]
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - len(end)))
        return file.read() == end
