"""SHA-256 checksums of the files in a directory, in the format of `sha256sum`, which can check them too."""

import hashlib
import re
from collections import defaultdict
from pathlib import Path

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


def corrupt_files(directory: Path) -> list[Path]:
    """Returns the files of a directory whose content matches none of the checksums that they have had."""
    digests = read(directory)
    files = [directory / name for name in sorted(digests) if (directory / name).is_file()]
    return [path for path in files if _digest(path) not in digests[path.name]]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
