"""Unpacks a zip of images into the project's own directory, `unpacked/NAME`; the zip stays as it is.

Only files with the suffix of an image or a table are unpacked. An archive with a path outside of it is refused.
"""

import json
import lzma
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePosixPath, PureWindowsPath

from gradebook.pipelines.importing.file_discovery import METADATA
from gradebook.pipelines.importing.tables import TABLES
from gradebook.storage.images import is_image
from gradebook.storage.project import ProjectError

UNPACKED = "unpacked"
UTF8_FLAG = 0x800  # of a member: its name is UTF-8
MAX_BYTES = 50 * 2**30  # bytes that an archive may hold unpacked
MIN_FREE_BYTES = 2**30  # left free on the disk
SOURCE_FILE = ".from.json"  # in the unpacked directory: which archive it came from
PROGRESS_INTERVAL = 50  # files between two calls of `progress`
COPY_BATCH = 2**20  # bytes written at once

Progress = Callable[[int, int], None]  # files done, files in all


def unpack(archive: Path, root: Path, *, progress: Progress | None = None) -> Path:
    """Returns the directory below `root` that holds the archive's images; one unpacked earlier is used again.

    Args:
        archive: a zip file.
        root: the project's directory.
        progress: called now and then with the files done and the files in all.

    Raises:
        ProjectError: it is no zip file, is damaged, encrypted or too large, leads elsewhere, or holds no images.
    """
    status = archive.stat()
    source = {"archive": str(archive), "size": status.st_size, "mtime_ns": status.st_mtime_ns}
    parent = root / UNPACKED
    earlier = next((path.parent for path in sorted(parent.glob(f"*/{SOURCE_FILE}")) if _read(path) == source), None)
    if earlier is not None:
        return earlier
    parent.mkdir(exist_ok=True)
    draft = parent / f".{archive.stem}.draft"
    shutil.rmtree(draft, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as opened:
            _extract(opened, archive, draft, progress or (lambda done, total: None))
        (draft / SOURCE_FILE).write_text(json.dumps(source) + "\n", encoding="utf-8")
        unpacked = _free(parent, archive.stem)
        draft.replace(unpacked)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # bz2 raises one without, of a broken stream
            raise
        raise ProjectError(f"{archive} is not a zip file that can be read ({error}): make it again") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return unpacked


def _extract(opened: zipfile.ZipFile, archive: Path, directory: Path, progress: Progress) -> None:
    members = _wanted(opened, archive)
    size = sum(member.file_size for member in members.values())
    directory.mkdir()
    most = max(min(MAX_BYTES, shutil.disk_usage(directory).free - MIN_FREE_BYTES), 0)
    if size > most:
        raise ProjectError(
            f"{archive} holds {size / 2**30:.1f} GiB, and at most {most / 2**30:.1f} GiB are unpacked here: "
            f"unpack it yourself and import the folder"
        )
    for done, (name, member) in enumerate(members.items(), start=1):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with opened.open(member) as source, path.open("xb") as file:
            shutil.copyfileobj(source, file, COPY_BATCH)
        if done % PROGRESS_INTERVAL == 0 or done == len(members):
            progress(done, len(members))


def _wanted(opened: zipfile.ZipFile, archive: Path) -> dict[str, zipfile.ZipInfo]:
    """Returns the images and tables of an archive by their paths, all of them below where they are unpacked."""
    members: dict[str, zipfile.ZipInfo] = {}
    for member in opened.infolist():
        name = member_name(member)
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or PureWindowsPath(name).drive:
            raise ProjectError(
                f"{archive} holds {member.filename!r}, a path that leads elsewhere: make it again without"
            )
        if stat.S_ISLNK(member.external_attr >> 16):
            raise ProjectError(f"{archive} holds {member.filename!r}, a link: make it again with the file itself")
        hidden = any(part.startswith(".") or part == METADATA for part in path.parts)
        if name.endswith("/") or hidden or not (is_image(Path(path.name)) or path.suffix.lower() in TABLES):
            continue
        if member.flag_bits & 1:
            raise ProjectError(f"{archive} is encrypted: unpack it yourself and import the folder")
        members[str(path)] = member
    if not any(is_image(Path(name)) for name in members):
        raise ProjectError(f"there are no images in {archive}: files are recognised as images by their suffix")
    return members


def member_name(member: zipfile.ZipInfo) -> str:
    """Returns a member's path with slashes, as its author wrote it.

    Without the flag for UTF-8 the standard says code page 437, but many programs write UTF-8 all the same.
    """
    name = member.orig_filename.partition("\0")[0]
    if not member.flag_bits & UTF8_FLAG:
        with suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/")


def _free(parent: Path, name: str) -> Path:
    number = 1
    while (path := parent / (name if number == 1 else f"{name}-{number}")).exists():
        number += 1
    return path


def _read(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
