"""Directories that an export writes: new or empty ones, or those of an earlier export of the same kind.

A hidden file lists what the export wrote. A later one may replace the directory only while it holds exactly these
files, unchanged. Files are written to a directory next to it, and the two are then exchanged, so that at every moment
the directory has all files of one export.
"""

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gradebook.pipelines.process.pids import ProcessId, identify, this_process
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
    draft = directory.with_name(f".{directory.name}.{_writer(this_process())}-{secrets.token_hex(4)}.draft")
    draft.mkdir()
    try:
        yield draft
        _write_mark(draft, {"kind": kind, "files": _files(draft)})
        check_target(directory, kind)  # it may have changed meanwhile
        if directory.exists():
            exchange(draft, directory)
        else:
            draft.rename(directory)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    if draft.exists():  # the earlier export
        check_target(draft, kind)  # a file of the user that came at the last moment stays
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


def exported_files(directory: Path, kind: str) -> tuple[list[str], list[str]]:
    """Returns the files that an export of this kind wrote to a directory and that are there, and the other files.

    A file that was changed since, such as a model card, is still one of the export's.

    Raises:
        ProjectError: no export of this kind wrote there.
    """
    mark = _read_mark(directory) if directory.is_dir() else None
    if mark is None or mark.get("kind") != kind:
        raise ProjectError(f"{directory} is no exported {kind}: make one with: gradebook export PROJECT DIR")
    there, listed = _files(directory), mark.get("files") or {}
    return sorted(there.keys() & listed), sorted(there.keys() - listed)


def _files(directory: Path) -> dict[str, list[int]]:
    """Returns the size and time of everything that is not a directory, by its path below.

    The mark is left out, and what Python compiles when somebody uses the program of a model card.
    """
    stamps = {}
    for parent, directories, names in os.walk(directory):
        if Path(parent).name == "__pycache__":
            continue
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


def _writer(process: ProcessId) -> str:
    """Returns a process as part of a file's name: digests of its host and restart, its id and start time."""
    digests = (hashlib.blake2b(text.encode(), digest_size=4).hexdigest() for text in (process.host, process.boot))
    return "-".join([*digests, str(process.pid), f"{process.started:.0f}"])


def _delete_abandoned(directory: Path) -> None:
    """Deletes what exports to this directory left beside it when they were killed on this machine."""
    host = _writer(this_process()).partition("-")[0]
    pattern = re.compile(rf"\.{re.escape(directory.name)}\.({host}-[0-9a-f]{{8}}-(\d+)-\d+)-[0-9a-f]{{8}}\.draft")
    for path in directory.parent.iterdir():
        match = pattern.fullmatch(path.name)
        if match is None or path.is_symlink():
            continue
        process = identify(int(match[2]))
        if process is None or _writer(process) != match[1]:
            shutil.rmtree(path, ignore_errors=True)
