"""`gradebook restore` makes a project from a file that `gradebook backup` wrote."""

import hashlib
import json
import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

from gradebook.pipelines.maintenance.backup import CHUNK, FORMAT, MANIFEST, VERSION, Progress
from gradebook.storage.project import SETTINGS, ProjectError
from gradebook.storage.store import open_store

MAX_MANIFEST_BYTES = 2**30
ANOTHER = "restore from another backup"


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreReport:
    """What a restored project has."""

    project: str
    files: int
    samples: int
    events: int
    runs: int
    missing: int  # image files that are not where they were

    def as_json(self) -> dict[str, Any]:
        """Returns it as plain data."""
        return asdict(self)


def restore(archive: Path, root: Path, *, progress: Progress = lambda done, total: None) -> RestoreReport:
    """Restores a project from a backup. Every checksum is compared first; a failure restores nothing.

    The archive is not trusted: its files are written below a new directory, no link is made, and no file gets longer
    than the manifest says.

    Args:
        archive: the backup.
        root: the directory of the project, which is empty or does not exist.
        progress: called with the files done and the files in all.

    Raises:
        ProjectError: `root` is not empty, or the archive is damaged or not a backup.
        OSError: the archive cannot be read, or the project cannot be written.
    """
    archive, root = archive.expanduser().absolute(), root.expanduser().absolute()
    if root.is_symlink() or (root.exists() and not (root.is_dir() and not any(root.iterdir()))):
        raise ProjectError(f"{root} is not an empty directory: restore into a new one")
    draft = root.with_name(f".{root.name}.restore.{os.getpid()}")
    with _opened(archive) as zipped:
        entries = _entries(zipped, archive)
        root.parent.mkdir(parents=True, exist_ok=True)
        draft.mkdir()
        try:
            for done, (name, entry) in enumerate(entries.items(), 1):
                _extract(zipped, name, entry, draft / name, archive)
                progress(done, len(entries))
            if root.exists():
                root.rmdir()
            draft.rename(root)
        except BaseException:
            shutil.rmtree(draft)
            raise
    return _report(root, len(entries))


def format_restore(report: RestoreReport) -> str:
    """Returns what a restored project has, as text."""
    text = f"{report.project}: {report.samples} images, {report.events} events, {report.runs} runs"
    if not report.missing:
        return text
    return (
        f"{text}\n{report.missing} image files are not where they were: put them back, import their zip file again, "
        f"or say where they are now: gradebook relocate {report.project} OLD NEW"
    )


@contextmanager
def _opened(archive: Path) -> Iterator[zipfile.ZipFile]:
    """Opens an archive; a damaged zip file is an error of one sentence."""
    try:
        with zipfile.ZipFile(archive) as zipped:
            yield zipped
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise ProjectError(f"{archive} is damaged, or no zip file ({error}): {ANOTHER}") from error
    except RuntimeError as error:  # zipfile's, of an encrypted file
        raise ProjectError(f"{archive} cannot be read ({error}): {ANOTHER}") from error


def _entries(zipped: zipfile.ZipFile, archive: Path) -> dict[str, dict[str, Any]]:
    """Returns the manifest's files: path below the project -> size and checksum. All are in the archive, and no others.

    Raises:
        ProjectError: the manifest is missing, unreadable or of another version, or names other files or unsafe paths.
    """
    try:
        info = zipped.getinfo(MANIFEST)
        if info.file_size > MAX_MANIFEST_BYTES:
            raise ValueError("its manifest is too large")
        manifest = json.loads(zipped.read(info))
        if manifest["format"] != FORMAT:
            raise ValueError("its manifest is another program's")
        version = int(manifest["version"])
        entries = {
            str(name): {"size": int(entry["size"]), "sha256": str(entry["sha256"])}
            for name, entry in manifest["files"].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProjectError(f"{archive} is no backup ({error}): give a file that gradebook backup wrote") from error
    if version > VERSION:
        raise ProjectError(f"{archive} is of a newer gradebook (format {version}): update, then restore")
    names = [info.filename for info in zipped.infolist()]
    if sorted(names) != sorted([*entries, MANIFEST]) or SETTINGS not in entries:
        raise ProjectError(f"{archive} does not have the files that its manifest names: {ANOTHER}")
    for info in zipped.infolist():
        if not _is_safe(info):
            raise ProjectError(f"{archive} has the unsafe entry {info.filename!r}, which a backup never has: {ANOTHER}")
    return entries


def _is_safe(info: zipfile.ZipInfo) -> bool:
    """Returns whether an entry is a plain file below the project's directory, on every system."""
    name, mode = info.filename, info.external_attr >> 16
    is_plain = stat.S_IFMT(mode) in (0, stat.S_IFREG) and not info.is_dir()
    is_below = not {"", ".", ".."} & set(name.split("/")) and "\\" not in name and not PureWindowsPath(name).drive
    return is_plain and is_below


def _extract(zipped: zipfile.ZipFile, name: str, entry: dict[str, Any], path: Path, archive: Path) -> None:
    digest, size = hashlib.sha256(), 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipped.open(name) as source, path.open("xb") as out:
        while size <= entry["size"] and (chunk := source.read(CHUNK)):
            digest.update(chunk)
            size += out.write(chunk)
    if size != entry["size"] or digest.hexdigest() != entry["sha256"]:
        raise ProjectError(f"{name} in {archive} does not match its checksum: {ANOTHER}")


def _report(root: Path, files: int) -> RestoreReport:
    store = open_store(root)
    return RestoreReport(
        project=str(root),
        files=files,
        samples=len(store.catalog.ids()),
        events=len(store.log.read()),
        runs=sum(1 for path in store.project.runs.glob("*") if path.is_dir()),
        missing=sum(not Path(file.filepath).exists() for file in store.catalog.files()),
    )
