"""Finding the image files below a directory, whatever else is in it."""

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from gradebook.pipelines.importing.tables import TABLES, read_table
from gradebook.storage.images import is_image
from gradebook.storage.project import ProjectError

Refusals = list[tuple[str, str]]  # a path, printable, and one sentence


@dataclass(frozen=True, slots=True)
class FoundFile:
    """An image file by its name; nothing in it has been read."""

    filepath: str  # absolute
    size: int  # bytes
    mtime_ns: int  # nanoseconds since 1970


def find_images(root: Path, leave_out: Collection[Path] = ()) -> tuple[list[FoundFile], Refusals]:
    """Returns the image files at or below `root` in order of path, and what should be one but cannot be looked at.

    Where `root` is a table, .csv or .parquet, those that its column filepath names, relative to where it lies. In a
    directory links are followed, each directory is entered once; hidden ones and those in `leave_out` are not.

    Raises:
        ProjectError: `root` does not exist, names no images, or there is no image file.
    """
    files: list[FoundFile] = []
    refused: Refusals = []
    entered: set[tuple[int, int]] = set()
    if root.is_file() and root.suffix.lower() in TABLES:
        for path in _listed(root):
            _take(path, files, refused)
    elif root.is_file():
        _take(str(root), files, refused)
    elif not root.is_dir():
        raise ProjectError(f"there is nothing at {printable(str(root))}: give a directory of images, or one image file")
    directories = [] if root.is_file() else [str(root)]
    while directories:
        directories += _enter(directories.pop(), {str(path) for path in leave_out}, entered, files, refused)
    if not files and not refused:
        raise ProjectError(
            f"there are no images in {printable(str(root))}: files count as images by how their names end"
        )
    return sorted(files, key=lambda file: file.filepath), sorted(refused)


def printable(path: str) -> str:
    """Returns a path that can be printed and saved: bytes that are not UTF-8 become escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def misnamed(path: str) -> str:
    """Returns a sentence if a path cannot be saved, for bytes that are not UTF-8, and else nothing."""
    if "\0" in path:
        return "its name has a NUL character: correct it"
    try:
        path.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8: rename it"
    return ""


def is_directory(entry: "os.DirEntry[str]") -> bool:
    """Returns whether an entry is a directory that can be looked at, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _listed(table: Path) -> list[str]:
    """Returns the paths that a table names, each once."""
    names = [row.filepath for row in read_table(table, labels=False)]
    return list(dict.fromkeys(os.path.normpath(table.parent / name) for name in names if name))


def _enter(
    directory: str, leave_out: set[str], entered: set[tuple[int, int]], files: list[FoundFile], refused: Refusals
) -> list[str]:
    """Takes the images of one directory; returns its directories, the first in order of name last."""
    try:
        status = os.stat(directory)  # noqa: PTH116  # names that are not UTF-8 are easier as strings
        if (status.st_dev, status.st_ino) in entered:
            return []
        entered.add((status.st_dev, status.st_ino))
        with os.scandir(directory) as found:
            entries = sorted(found, key=lambda entry: entry.name, reverse=True)
    except OSError as error:
        refused.append((printable(directory), f"the directory cannot be read ({error.strerror or error})"))
        return []
    below = []
    for entry in entries:
        if not entry.name.startswith(".") and is_directory(entry):
            below += [] if entry.path in leave_out else [entry.path]
        elif is_image(Path(entry.name)):
            _take(entry.path, files, refused)
    return below


def _take(path: str, files: list[FoundFile], refused: Refusals) -> None:
    if why := misnamed(path):
        refused.append((printable(path), why))
        return
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError as error:
        refused.append((printable(path), f"it cannot be read ({error.strerror or error})"))
    else:
        if not os.path.isfile(path):  # noqa: PTH113
            refused.append((printable(path), "it is not a file that holds anything"))
        else:
            files.append(FoundFile(path, status.st_size, status.st_mtime_ns))
