"""Finds the image files below a directory: the same ones for an import, a pool, predictions and plain data sets.

- A file counts as an image by its suffix (`gradebook.storage.images.SUFFIXES`).
- Hidden files and directories, such as `.ipynb_checkpoints`, and `__MACOSX` are left out.
- Links are followed; each directory is entered once.
- What has the name of an image but cannot be opened is reported: pipes, links to nothing, names that are not UTF-8.
"""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from gradebook.pipelines.importing.file_names import DiskNames
from gradebook.pipelines.importing.tables import BY_NAME, TABLES, ColumnNames, read_table
from gradebook.storage.images import is_image
from gradebook.storage.project import ProjectError

Refusals = list[tuple[str, str]]  # a path, printable, and one sentence
METADATA = "__MACOSX"  # directory that macOS adds to zip files


@dataclass(frozen=True, slots=True)
class FoundFile:
    """An image file by its name; nothing in it has been read."""

    filepath: str  # absolute
    size: int  # bytes
    mtime_ns: int  # nanoseconds since 1970


def find_images(
    root: Path, leave_out: Collection[Path] = (), columns: ColumnNames = BY_NAME
) -> tuple[list[FoundFile], Refusals]:
    """Returns the image files at or below `root` in order of path, and what should be one but cannot be opened.

    Args:
        root: a directory; one file; or a table, such as .csv or .parquet, of paths relative to its own directory.
        leave_out: directories that are not entered.
        columns: the columns of the table that a person named.

    Raises:
        ProjectError: `root` does not exist, names no images, or there is no image file.
    """
    if root.is_dir():
        entries = list(walk(str(root), leave_out=leave_out, is_sorted=True))
    elif root.is_file():
        names = _listed(root, columns) if root.suffix.lower() in TABLES else [str(root)]
        entries = [(name, _problem(name)) for name in names]
    else:
        raise ProjectError(f"there is nothing at {printable(str(root))}: give a directory of images, or one image file")
    if not entries:
        raise ProjectError(
            f"there are no images in {printable(str(root))}: files are recognised as images by their suffix"
        )
    files: list[FoundFile] = []
    refused = [(printable(path), why) for path, why in entries if why]
    for path in (path for path, why in entries if not why):
        try:
            status = os.stat(path)  # noqa: PTH116  # faster than pathlib's
            files.append(FoundFile(path, status.st_size, status.st_mtime_ns))
        except OSError as error:  # deleted meanwhile
            refused.append((printable(path), f"it cannot be read ({error.strerror or error})"))
    return sorted(files, key=lambda file: file.filepath), sorted(refused)


def walk(directory: str, *, leave_out: Collection[Path] = (), is_sorted: bool = False) -> Iterator[tuple[str, str]]:
    """Yields the path of each image file below a directory, and one sentence why it cannot be used, empty if it can.

    Args:
        directory: its absolute path, as a string: names that are not UTF-8 are easier so.
        leave_out: directories that are not entered.
        is_sorted: whether to go through each directory in order of names. Otherwise the order is that of the file
            system, which stays the same while nothing changes, and a directory of millions is not listed first.
    """
    yield from _walk(directory, {str(path) for path in leave_out}, is_sorted, set())


def printable(path: str) -> str:
    """Returns a path that can be printed and saved: bytes that are not UTF-8 become escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _walk(
    directory: str, leave_out: Collection[str], is_sorted: bool, entered: set[tuple[int, int]]
) -> Iterator[tuple[str, str]]:
    try:
        status = os.stat(directory)  # noqa: PTH116
        if (status.st_dev, status.st_ino) in entered:
            return
        entered.add((status.st_dev, status.st_ino))
        with os.scandir(directory) as scan:
            for entry in sorted(scan, key=lambda entry: entry.name) if is_sorted else scan:
                if _is_directory(entry):
                    if not entry.name.startswith(".") and entry.name != METADATA and entry.path not in leave_out:
                        yield from _walk(entry.path, leave_out, is_sorted, entered)
                elif is_image(Path(entry.name)):
                    yield entry.path, _problem(entry.path, is_file=_is_file(entry))
    except OSError as error:
        yield directory, f"the directory cannot be read ({error.strerror or error})"


def _listed(table: Path, columns: ColumnNames) -> list[str]:
    """Returns the paths that a table names, each once."""
    names, rows = DiskNames(), read_table(table, labels=False, columns=columns)
    return list(dict.fromkeys(names.find(row.filepath, table.parent) for row in rows if row.filepath))


def _problem(path: str, *, is_file: bool = False) -> str:
    """Returns one sentence why a path cannot be used, empty if it can."""
    if "\0" in path:
        return "its name has a NUL character: correct it"
    try:
        path.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8: rename it"
    try:
        if not is_file and os.stat(path) and not os.path.isfile(path):  # noqa: PTH113, PTH116
            return "it is not a file that holds anything"
    except (OSError, ValueError) as error:
        return f"it cannot be read ({getattr(error, 'strerror', None) or error})"
    return ""


def _is_directory(entry: "os.DirEntry[str]") -> bool:
    """Returns whether an entry is a directory, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_file(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False
