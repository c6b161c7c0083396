"""Finds files of LanceDB tables that were written only in part, and takes the write back.

The process that wrote them does so at once (`check_new`), or the next one that opens the table if that was killed
(`recover`).

If the disk becomes full while LanceDB 0.40 writes the end of a data file, it can still commit the version. The write
seems to have succeeded, but the table can no longer be read. Files of Lance and Arrow end with the name of their
format, so a file without it is incomplete.
"""

import errno
import os
import uuid
from collections.abc import Collection
from itertools import takewhile
from pathlib import Path

HINT = "_versions/latest_version_hint.json"  # LanceDB writes it again with the next version
ENDS = {".lance": b"LANC", ".manifest": b"LANC", ".idx": b"LANC", ".arrow": b"ARROW1"}  # by suffix
PATTERNS = ("data/*.lance", "_versions/*.manifest", "_deletions/*.arrow", "_indices/*/*.lance", "_indices/*/*.idx")


_LAST = 2**64 - 1  # LanceDB names a version by its distance from this number, so that the newest sorts first


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


def recover(table: Path, checked: Collection[str]) -> bool:
    """Takes back the newest versions if they use files that are not whole; returns whether there were any.

    Does nothing if the version before is missing, or if the write had ended: such a file was damaged later.

    Args:
        table: the table's directory.
        checked: paths of files, below the directory of the table's directory, whose write had ended.
    """
    cut = cut_files(table, checked)
    if not cut or not checked:
        return False
    manifests = sorted(table.glob("_versions/*.manifest"), key=version_of, reverse=True)
    broken = list(takewhile(lambda manifest: any(_uses(manifest, path) for path in cut), manifests))
    if not broken or broken == manifests or not set(broken) <= set(_unchecked(table, checked)):
        return False
    for manifest in broken:
        manifest.unlink(missing_ok=True)
    (table / HINT).unlink(missing_ok=True)
    return True


def cut_files(table: Path, checked: Collection[str]) -> list[Path]:
    """Returns the files that are not whole among those whose write had not ended; see `recover`."""
    return [path for path in _unchecked(table, checked) if not _is_whole(path)]


def version_of(manifest: Path) -> int:
    """Returns the number of the version that a manifest describes, 0 if its name is none."""
    number = int(manifest.stem) if manifest.stem.isdecimal() else 0
    return _LAST - number if number > _LAST // 2 else number


def _unchecked(table: Path, checked: Collection[str]) -> list[Path]:
    return [path for path in list_files(table) if path.relative_to(table.parent).as_posix() not in checked]


def _uses(manifest: Path, path: Path) -> bool:
    """Returns whether a manifest lists a file, or is that file."""
    if path.parent.name == "_deletions":  # named FRAGMENT-VERSION-ID.arrow by the version before
        return path.stem.split("-")[1:2] == [str(version_of(manifest) - 1)]
    if path.parent.parent.name == "_indices":
        return uuid.UUID(path.parent.name).bytes in manifest.read_bytes()
    return path == manifest or path.name.encode() in manifest.read_bytes()


def _is_whole(path: Path) -> bool:
    end = ENDS[path.suffix]
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - len(end)))
        return file.read() == end
