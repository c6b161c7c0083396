"""SHA-256 checksums of the files of LanceDB tables, which have none of their own. Without them, a flipped bit in an
embedding would go unnoticed.

LanceDB never changes a file that it has written. Each table's checksums are in `NAME.sha256` next to its directory, in
the format of `sha256sum`, whose `--ignore-missing` can check them too: compaction deletes files, and their lines stay
for a while.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from gradebook.storage.files import write_atomic

SUFFIX = ".sha256"
LINE = re.compile(r"(?P<digest>[0-9a-f]{64})  (?P<name>[^\0]+)$")  # also after half a line that a kill left
PARTS = ("data", "_versions", "_deletions", "_indices")  # subdirectories whose files are read
MAX_STALE_SHARE = 4  # lines for each file, beyond which those of deleted files are left out


def note(table: Path) -> None:
    """Notes the checksums of a table's new files. A kill leaves them to the next call."""
    known, files = read(table), {_name(table, path): path for path in _files(table)}
    noted = _sums(table).stat().st_mtime_ns if known else 0
    new = {name: _digest(path) for name, path in files.items() if name not in known or _is_rewritten(path, noted)}
    lines = "".join(f"{digest}  {name}\n" for name, digest in new.items())
    if len(known) > MAX_STALE_SHARE * len(files):
        still = "".join(f"{digest}  {name}\n" for name, digest in known.items() if name in files)
        write_atomic(_sums(table), still + lines)
    elif new:
        with _sums(table).open("a", encoding="utf-8") as sums:
            sums.write(lines)


def read(table: Path) -> dict[str, str]:
    """Returns the checksums of a table's files: path below the tables' directory -> hexadecimal digest."""
    try:
        lines = _sums(table).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    return {match["name"]: match["digest"] for match in filter(None, map(LINE.search, lines))}


def forget(table: Path) -> None:
    """Deletes the checksums of a table that was deleted."""
    _sums(table).unlink(missing_ok=True)


def corrupt_files(table: Path) -> list[Path]:
    """Returns the files of a table that do not match their checksum; those without one are not among them."""
    digests = read(table)
    return [path for path in _files(table) if digests.get(_name(table, path), digest := _digest(path)) != digest]


def _is_rewritten(path: Path, noted: int) -> bool:
    """Returns whether a version was written after `noted`. Its name is a number, which comes again after a rollback."""
    return path.suffix == ".manifest" and path.stat().st_mtime_ns > noted


def _sums(table: Path) -> Path:
    return table.with_suffix(SUFFIX)


def _name(table: Path, path: Path) -> str:
    return path.relative_to(table.parent).as_posix()


def _files(table: Path) -> Iterator[Path]:
    for part in PARTS:
        for path in sorted((table / part).rglob("*")):
            if path.is_file() and path.suffix != ".json":  # Lance rewrites its note of the newest version
                yield path


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
