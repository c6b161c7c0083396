"""`gradebook relocate` updates the catalogue after a folder of images was moved.

Labels, events and vectors belong to the content of a sample, so they stay as they are. A file counts as moved if the
same path below the new folder has the same bytes.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradebook.storage.catalog import GONE
from gradebook.storage.project import ProjectError
from gradebook.storage.samples import File, sample_id

if TYPE_CHECKING:
    from gradebook.storage.store import Store

SHOWN = 5  # folders that an error names


@dataclass(frozen=True, slots=True, kw_only=True)
class Relocation:
    """The result of a relocation."""

    old: str
    new: str
    moved: int  # files that the catalogue now has below the new folder
    missing: list[str]  # files that are missing there; the catalogue keeps their old paths
    different: list[str]  # files with other content there; the catalogue keeps their old paths
    dry_run: bool  # the catalogue was not changed

    def as_json(self) -> dict[str, Any]:
        """Returns it as plain data."""
        return asdict(self)


def relocate(
    store: "Store",
    old: Path,
    new: Path,
    *,
    dry_run: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Relocation:
    """Replaces the paths of the files below `old` by those below `new`: all of them, or none if it is killed.

    A file of the same size and time counts as the same; of any other the content hash is compared.

    Args:
        store: the project.
        old: the folder or file at import.
        new: its path now.
        dry_run: change nothing.
        progress: called now and then with the files done and the files in all.

    Raises:
        ProjectError: the catalogue has no file below `old`, or there is nothing at `new`.
    """
    before, after = old.expanduser().absolute(), new.expanduser().resolve()
    if not after.exists():
        raise ProjectError(f"there is nothing at {after}: give the folder in which the images are now")
    catalogued = _files(store)
    bases = dict.fromkeys([before, before.resolve()])  # an import resolves links, which may be gone by now
    below = [(file, base) for base in bases for file in catalogued if _is_below(file, base)]
    if not below:
        raise ProjectError(
            f"the catalogue has no file below {before}: its folders are {', '.join(_folders(catalogued))}"
        )
    moved, missing, different = _compare(below, after, progress)
    if not dry_run:
        store.catalog.add([], list(_rows(moved)))
    return Relocation(
        old=str(before), new=str(after), moved=len(moved), missing=missing, different=different, dry_run=dry_run
    )


def format_relocation(done: dict[str, Any]) -> str:
    """Returns the result as text."""
    would = "would be found" if done["dry_run"] else "are now found"
    lines = [f"{done['moved']} files {would} below {done['new']}; labels, record and vectors stay as they are"]
    for name, what in (("missing", "are not there"), ("different", "hold another content there")):
        if done[name]:
            more = f" and {len(done[name]) - SHOWN} more (see --json)" if len(done[name]) > SHOWN else ""
            lines.append(f"{len(done[name])} {what} and keep their old paths: {', '.join(done[name][:SHOWN])}{more}")
    return "\n".join(lines)


def _files(store: "Store") -> list[File]:
    """Returns the catalogue's files, and the file of each sample that has none listed."""
    files = store.catalog.files()
    listed = {file.filepath for file in files}
    unlisted = [s for s in store.catalog.samples() if s.filepath not in listed]
    return files + [File(filepath=s.filepath, sample_id=s.sample_id, size=-1, mtime_ns=0) for s in unlisted]


def _compare(
    below: Sequence[tuple[File, Path]], new: Path, progress: Callable[[int, int], None]
) -> tuple[list[tuple[File, File]], list[str], list[str]]:
    """Returns the files that are below `new` too, each with the file there, and those missing or different there.

    Args:
        below: each file with the folder to which its path below `new` is relative.
        new: the folder to look in.
        progress: see `relocate`.
    """
    moved: list[tuple[File, File]] = []
    missing: list[str] = []
    different: list[str] = []
    for done, (file, base) in enumerate(below, 1):
        match = _same(file, new / Path(file.filepath).relative_to(base))
        if isinstance(match, File):
            moved.append((file, match))
        else:
            (missing if match is None else different).append(file.filepath)
        if done % 100 == 0 or done == len(below):
            progress(done, len(below))
    return moved, missing, different


def _same(file: File, path: Path) -> File | bool | None:
    """Returns the file as it is at `path`, False if that has other content, None if it is missing."""
    try:
        stat = path.stat()
        same = (stat.st_size, stat.st_mtime_ns) == (file.size, file.mtime_ns)
        if same or sample_id(path.read_bytes()) == file.sample_id:
            return File(filepath=str(path), sample_id=file.sample_id, size=stat.st_size, mtime_ns=stat.st_mtime_ns)
    except OSError:
        return None
    return False


def _rows(moved: list[tuple[File, File]]) -> Iterator[File]:
    """Yields the new paths, and the old ones as gone unless they are new paths too."""
    arrived = {match.filepath for _, match in moved}
    for file, match in moved:
        yield match
        if file.filepath not in arrived:
            yield File(filepath=file.filepath, sample_id=GONE, size=0, mtime_ns=0)


def _is_below(file: File, folder: Path) -> bool:
    return file.filepath == str(folder) or file.filepath.startswith(str(folder).rstrip(os.sep) + os.sep)


def _folders(files: list[File]) -> list[str]:
    folders = sorted({str(Path(file.filepath).parent) for file in files})
    return folders[:SHOWN] + ([f"and {len(folders) - SHOWN} more"] if len(folders) > SHOWN else []) or ["none"]
