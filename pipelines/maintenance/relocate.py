"""`gradebook relocate`: a folder of images was moved, and the catalogue is told so, for the files that are the same.

Labels, events and vectors know a sample by its content, so they are not touched. Nothing is guessed: a file counts as
moved where the same path below the new folder holds the same bytes.
"""

import os
from collections.abc import Callable, Iterator
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
    """What became of the files of the old folder."""

    old: str
    new: str
    moved: int  # files that are now known by their path below the new folder
    missing: list[str]  # files that are not there; the catalogue keeps their old paths
    different: list[str]  # files in whose place another content is; the catalogue keeps their old paths
    dry_run: bool  # the catalogue is as it was

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
    """Rewrites the paths of the files below `old` to those below `new`, all at once or, when killed, none.

    A file of the same size and time is taken for the same, another is read and its hash compared.

    Args:
        store: the project.
        old: the folder as it was called at import, or one file.
        new: where it is now.
        dry_run: only say what would be done.
        progress: called now and then with the files done and the files in all.

    Raises:
        ProjectError: the catalogue has no file below `old`, or there is nothing at `new`.
    """
    before, after = old.expanduser().absolute(), new.expanduser().resolve()
    if not after.exists():
        raise ProjectError(f"there is nothing at {after}: give the folder in which the images are now")
    known = _files(store)
    bases = dict.fromkeys([before, before.resolve()])  # an import resolves links, which may be gone by now
    below = [(file, base) for base in bases for file in known if _is_below(file, base)]
    if not below:
        raise ProjectError(f"the catalogue has no file below {before}: its folders are {', '.join(_folders(known))}")
    moved: list[tuple[File, File]] = []
    missing: list[str] = []
    different: list[str] = []
    for done, (file, base) in enumerate(below, 1):
        found = _same(file, after / Path(file.filepath).relative_to(base))
        if isinstance(found, File):
            moved.append((file, found))
        else:
            (missing if found is None else different).append(file.filepath)
        if done % 100 == 0 or done == len(below):
            progress(done, len(below))
    if not dry_run:
        store.catalog.add([], list(_rows(moved)))
    return Relocation(
        old=str(before), new=str(after), moved=len(moved), missing=missing, different=different, dry_run=dry_run
    )


def relocation_words(done: dict[str, Any]) -> str:
    """Returns what was done, for people."""
    would = "would be found" if done["dry_run"] else "are now found"
    lines = [f"{done['moved']} files {would} below {done['new']}; labels, record and vectors stay as they are"]
    for name, what in (("missing", "are not there"), ("different", "hold another content there")):
        if done[name]:
            more = f" and {len(done[name]) - SHOWN} more (see --json)" if len(done[name]) > SHOWN else ""
            lines.append(f"{len(done[name])} {what} and keep their old paths: {', '.join(done[name][:SHOWN])}{more}")
    return "\n".join(lines)


def _files(store: "Store") -> list[File]:
    """Returns the catalogue's files, and the first files of samples that have none listed."""
    files = store.catalog.files()
    listed = {file.filepath for file in files}
    loose = [s for s in store.catalog.samples() if s.filepath not in listed]
    return files + [File(filepath=s.filepath, sample_id=s.sample_id, size=-1, mtime_ns=0) for s in loose]


def _same(file: File, path: Path) -> File | bool | None:
    """Returns the file as it is at `path`; False where that holds another content, None where there is nothing."""
    try:
        stat = path.stat()
        same = (stat.st_size, stat.st_mtime_ns) == (file.size, file.mtime_ns)
        if same or sample_id(path.read_bytes()) == file.sample_id:
            return File(filepath=str(path), sample_id=file.sample_id, size=stat.st_size, mtime_ns=stat.st_mtime_ns)
    except OSError:
        return None
    return False


def _rows(moved: list[tuple[File, File]]) -> Iterator[File]:
    """Yields the new paths, and the old ones as gone where they are not new paths too."""
    arrived = {found.filepath for _, found in moved}
    for file, found in moved:
        yield found
        if file.filepath not in arrived:
            yield File(filepath=file.filepath, sample_id=GONE, size=0, mtime_ns=0)


def _is_below(file: File, folder: Path) -> bool:
    return file.filepath == str(folder) or file.filepath.startswith(str(folder).rstrip(os.sep) + os.sep)


def _folders(files: list[File]) -> list[str]:
    folders = sorted({str(Path(file.filepath).parent) for file in files})
    return folders[:SHOWN] + ([f"and {len(folders) - SHOWN} more"] if len(folders) > SHOWN else []) or ["none"]
