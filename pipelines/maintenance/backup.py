"""`gradebook backup` writes a project to one zip file, from which `gradebook restore` restores it.

The archive has the settings, tables, runs, selections and the map. It has no images, no copies of images and nothing
that belongs to running processes. `manifest.json` in it has the size and checksum of every file.
"""

import hashlib
import json
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from gradebook import __version__
from gradebook.pipelines.curation.leases import turn
from gradebook.pipelines.runs import SNAPSHOTS
from gradebook.storage.files import atomic_path
from gradebook.storage.project import SETTINGS, Project, ProjectError, read_project
from gradebook.storage.store import LANCE, tables_of

MANIFEST = "manifest.json"
FORMAT, VERSION = "gradebook-backup", 1
OF_PROJECT = ("map.npz", "selections", "audits", "deleted_runs.json")  # beside the settings, the tables and the runs
NOT_IN_IT = ("unpacked", "exports", "jobs", "mongo", "squares", "thumbnails")  # the report names those that exist
LAST = ("SHA256SUMS", "samples.json", "changes.json", "labels.json")  # of a run; they cover what the other files have
CHANGING = (".json", ".sha256")  # files of the tables that are rewritten; all others are only added and deleted
CHUNK = 2**20  # bytes
ATTEMPTS = 3
Progress = Callable[[int, int], None]  # files done, files in all


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupReport:
    """What a backup has."""

    file: str
    files: int
    bytes: int  # of the archive
    events: int  # of the log
    runs: int
    left_out: list[str]  # directories of the project that are not in it

    def as_json(self) -> dict[str, Any]:
        """Returns it as plain data."""
        return asdict(self)


class _DeletedError(Exception):
    """A file was deleted before it could be copied."""


def backup(root: Path, archive: Path, *, progress: Progress = lambda done, total: None) -> BackupReport:
    """Writes a project to a new zip file, whole or not at all, while others may write to the project.

    Runs are copied before the tables, so that the log has every label that a run was trained with, and of a run its
    checkpoints before its record, so that the record reaches them.

    Args:
        root: the project.
        archive: the file to write.
        progress: called with the files done and the files in all.

    Raises:
        ProjectError: `root` is not a project, its tables are at an address, `archive` exists, or it is in the project.
        OSError: a file cannot be read, or the archive cannot be written.
    """
    project, archive = read_project(root), archive.expanduser().absolute()
    if project.store:
        raise ProjectError(f"the tables of {root} are at {project.store}: back them up with the tools of that store")
    if archive.exists():
        raise ProjectError(f"{archive} exists already: choose another name, or delete it")
    if archive.parent.resolve().is_relative_to(project.root):
        raise ProjectError(f"{archive} is in the project, and would be lost with it: choose another directory")
    if not archive.parent.is_dir():
        raise ProjectError(f"there is no directory {archive.parent}: create it, or choose another directory")
    for _ in range(ATTEMPTS):
        try:
            with atomic_path(archive) as temporary:
                counts = _write(project, temporary, progress)
            return BackupReport(file=str(archive), bytes=archive.stat().st_size, **counts)
        except _DeletedError as error:
            deleted = str(error)
    raise ProjectError(f"{deleted} was deleted before it was copied: back up again when nobody deletes tables")


def format_backup(report: BackupReport) -> str:
    """Returns what a backup has, as text."""
    text = f"{report.file}: {report.files} files, {report.events} events, {report.runs} runs, {report.bytes:,} bytes"
    return f"{text}\nnot in it: {', '.join(['images', *report.left_out])}"


def _write(project: Project, path: Path, progress: Progress) -> dict[str, Any]:
    """Writes the archive and returns the counts of the report."""
    runs = sorted(p for p in project.runs.glob("[!.]*") if p.is_dir() and not p.is_symlink())
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as zipped:
        draft = _Archive(project, zipped)
        for done, run in enumerate(runs):
            _add_run(draft, run)
            progress(done + 1, len(runs))
        for name in OF_PROJECT:
            draft.add(_files(project.root / name))
        events = _add_tables(draft, progress)
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "program": __version__,
            "project": str(project.root),
            "written": datetime.now(UTC).isoformat(timespec="seconds"),
            "files": draft.entries,
        }
        zipped.writestr(MANIFEST, json.dumps(manifest, ensure_ascii=False, indent=1))
    left_out = [name for name in NOT_IN_IT if (project.root / name).is_dir()]
    return {"files": len(draft.entries), "events": events, "runs": len(runs), "left_out": left_out}


def _add_run(draft: "_Archive", run: Path) -> None:
    for whole in [*sorted((run / "checkpoints").glob("[!.]*")), *sorted((run / SNAPSHOTS).glob("[!.]*"))]:
        draft.add_together(_files(whole))
    draft.add([path for path in _files(run / "record") if path.name not in LAST])
    rest = [path for path in _files(run) if path.relative_to(run).parts[0] not in ("checkpoints", SNAPSHOTS, "record")]
    draft.add([path for path in rest if path.name not in LAST])
    draft.add([run / "record" / LAST[0], *(run / name for name in LAST)])


def _add_tables(draft: "_Archive", progress: Progress) -> int:
    """Adds the tables and the settings as they are at one moment; returns the number of events.

    Writers wait only while the files are listed, and nobody changes the classes, which both have. What a table
    consists of then is not deleted within an hour.
    """
    directory, tables = draft.project.root / LANCE, tables_of(draft.project)
    read_only = tables.is_read_only()
    with nullcontext() if read_only else turn(draft.project), nullcontext() if read_only else tables.write_lock():
        log = tables.open("events")
        events = 0 if log is None else int(log.count_rows())
        listed = _files(directory)
        contents = {path: path.read_bytes() for path in listed if path.suffix in CHANGING}
        contents[draft.project.root / SETTINGS] = (draft.project.root / SETTINGS).read_bytes()
    for path, content in contents.items():
        draft.add_content(path, content)
    lasting = [path for path in listed if path not in contents]
    for done, path in enumerate(lasting, 1):
        if not draft.add([path]):
            raise _DeletedError(str(path))
        progress(done, len(lasting))
    return events


class _Archive:
    """A zip file that is being written, and the manifest's entries."""

    def __init__(self, project: Project, zipped: zipfile.ZipFile):
        self.project, self.entries = project, dict[str, dict[str, Any]]()
        self._zipped = zipped

    def add(self, paths: Sequence[Path]) -> int:
        """Adds files, except those that do not exist or are in the archive; returns how many."""
        return sum(self.add_together([path]) for path in paths)

    def add_together(self, paths: Sequence[Path]) -> int:
        """Adds files, or none of them if one does not exist or is in the archive; returns how many."""
        with ExitStack() as block:
            try:
                files = {self._name(path): block.enter_context(path.open("rb")) for path in paths}
            except FileNotFoundError:
                return 0
            if files.keys() & self.entries.keys():
                return 0
            for name, file in files.items():
                self._copy(name, file)
            return len(files)

    def add_content(self, path: Path, content: bytes) -> None:
        """Adds a file with content that was read before."""
        self._zipped.writestr(self._name(path), content)
        self.entries[self._name(path)] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    def _name(self, path: Path) -> str:
        return path.relative_to(self.project.root).as_posix()

    def _copy(self, name: str, file: IO[bytes]) -> None:
        digest, size = hashlib.sha256(), 0
        with self._zipped.open(name, "w", force_zip64=True) as out:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
                size += out.write(chunk)
        self.entries[name] = {"size": size, "sha256": digest.hexdigest()}


def _files(path: Path) -> list[Path]:
    """Returns the files at or below a path in order of their names, but no hidden ones."""
    return [p for p in _walk(path) if not p.is_symlink() and p.is_file()]


def _walk(path: Path) -> Iterator[Path]:
    if path.is_symlink() or not path.is_dir():
        yield path
        return
    try:
        below = sorted(path.iterdir())
    except FileNotFoundError:
        return
    for child in below:
        if not child.name.startswith("."):
            yield from _walk(child)
