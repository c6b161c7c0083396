"""SHA-256 checksums of the files in a directory, in the format of `sha256sum`, which can check them too."""

import hashlib
import re
from collections import defaultdict
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from gradebook.storage import files

FILE = "SHA256SUMS"
LINE = re.compile(r"(?P<digest>[0-9a-f]{64})  (?P<name>[^/\0]+)$")  # may follow half a line that a kill left


def append(path: Path, temporary: Path) -> None:
    """Appends the checksum that a file will have once `temporary` replaces it.

    After a kill the file matches this line or an earlier one. Processes may append concurrently, because a line is one
    short write.

    Args:
        path: the file.
        temporary: the file with its new content.
    """
    with (path.parent / FILE).open("a", encoding="utf-8") as sums:
        sums.write(f"{_digest(temporary)}  {path.name}\n")


def write_json(path: Path, data: Any, *, indent: int | None = None) -> None:
    """Writes data as JSON, and the checksum of the file beside it.

    Raises:
        OSError: as `files.atomic_path`.
    """
    with files.atomic_path(path) as temporary:
        files.write_json(temporary, data, indent=indent)
        append(path, temporary)


def read(directory: Path) -> dict[str, set[str]]:
    """Returns the checksums that each file of a directory has had: name -> hexadecimal digests."""
    try:
        lines = (directory / FILE).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    digests: dict[str, set[str]] = defaultdict(set)
    for match in filter(None, map(LINE.search, lines)):
        digests[match["name"]].add(match["digest"])
    return digests


def corrupt_files(directory: Path, pattern: str = "*") -> list[Path]:
    """Returns the files of a directory whose content matches none of the checksums that they have had.

    Args:
        directory: of the files.
        pattern: of the names to look at, as a shell has them.
    """
    digests = read(directory)
    paths = [directory / name for name in sorted(digests) if fnmatchcase(name, pattern)]
    return [path for path in paths if path.is_file() and _digest(path) not in digests[path.name]]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
