"""Directories that an export writes: new or empty ones, or those of an earlier export of the same kind.

A hidden file lists what the export wrote. A later one may replace the directory only while it holds exactly these
files, unchanged. Files are written beside the directory, and the two are then exchanged, so that the directory has all
files of one export at every moment.
"""

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from glob import escape
from pathlib import Path
from typing import Any

from gradebook.pipelines.process.pids import ProcessId, this_process
from gradebook.storage.characters import escaped
from gradebook.storage.files import exchange
from gradebook.storage.project import ProjectError

MARK = ".gradebook-export.json"
SHOWN = 3  # files that a message names


@contextmanager
def written_directory(directory: Path, kind: str) -> Iterator[Path]:
    """Lends an empty directory to write to. At the end of the block, it takes the place of `directory`.

    After an error there is no such directory, and `directory` is as it was.

    Args:
        directory: new, empty, or what an earlier export of this kind wrote.
        kind: of the export, such as classifier.

    Raises:
        ProjectError: `directory` has files that no export of this kind wrote, or that were changed since.
    """
    directory = directory.expanduser().resolve()
    check_target(directory, kind)
    directory.parent.mkdir(parents=True, exist_ok=True)
    _delete_abandoned(directory)
    draft = directory.with_name(f".{directory.name}.{secrets.token_hex(4)}.draft")
    draft.mkdir()
    try:
        _write_mark(draft, {"kind": kind, "writer": asdict(this_process())})
        yield draft
        _write_mark(draft, {"kind": kind, "files": _files(draft)})
        check_target(directory, kind)  # it may have changed meanwhile
        if directory.exists():
            exchange(draft, directory)  # what is deleted below is the earlier export
        else:
            draft.rename(directory)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def check_target(directory: Path, kind: str) -> bool:
    """Returns whether an export of this kind would replace an earlier one.

    Raises:
        ProjectError: as `written_directory`.
    """
    if not os.path.lexists(directory):
        return False
    if directory.is_symlink() or not directory.is_dir():
        raise ProjectError(f"{directory} exists already and is no directory: choose a new directory")
    files = _files(directory)
    mark = _read_mark(directory)
    if not files and mark is None:
        return False
    listed = (mark or {}).get("files")
    listed = listed if isinstance(listed, dict) else {}
    if foreign := sorted(name for name, stamp in files.items() if listed.get(name) != stamp):
        names = ", ".join(map(escaped, foreign[:SHOWN])) + (", ..." if len(foreign) > SHOWN else "")
        raise ProjectError(
            f"{directory} holds other files ({names}), which gradebook did not write or which were changed since: "
            "choose a new directory"
        )
    if mark is not None and mark.get("kind") != kind:
        raise ProjectError(f"{directory} is an export of another kind ({mark.get('kind')}): choose a new directory")
    return True


def _files(directory: Path) -> dict[str, list[int]]:
    """Returns the size and time of everything that is not a directory, by its path below; the mark is left out."""
    stamps = {}
    for parent, directories, names in os.walk(directory):
        links = [name for name in directories if (Path(parent) / name).is_symlink()]
        for name in (*names, *links):
            path = Path(parent) / name
            status = path.lstat()
            stamps[path.relative_to(directory).as_posix()] = [status.st_size, status.st_mtime_ns]
    stamps.pop(MARK, None)
    return stamps


def _write_mark(directory: Path, content: dict[str, Any]) -> None:
    (directory / MARK).write_text(json.dumps(content) + "\n", encoding="utf-8")


def _read_mark(directory: Path) -> dict[str, Any] | None:
    try:
        mark = json.loads((directory / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return mark if isinstance(mark, dict) else None


def _delete_abandoned(directory: Path) -> None:
    """Deletes what exports to this directory left beside it when they were killed."""
    for draft in directory.parent.glob(f".{escape(directory.name)}.*.draft"):
        with suppress(KeyError, TypeError, OSError):
            mark = _read_mark(draft) or {}
            if not draft.is_symlink() and ProcessId(**mark["writer"]).has_ended:
                shutil.rmtree(draft)
