"""Unpacks a zip of images into the project's own directory, `unpacked/NAME`; the zip stays as it is.

Only what is named like an image or a CSV file is taken out. An archive with a path that leads elsewhere is refused.
"""

import json
import lzma
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from gradebook.storage.images import is_image
from gradebook.storage.project import ProjectError

UNPACKED = "unpacked"
LARGEST = 50 * 2**30  # bytes that an archive may hold unpacked
SPARE = 2**30  # bytes that the disk must still have afterwards
MARK = ".from.json"  # in the unpacked directory: which archive it came from
STEP = 50  # files between two calls of `progress`
PIECE = 2**20  # bytes written at once

Progress = Callable[[int, int], None]  # files done, files in all


def unpack(archive: Path, root: Path, *, progress: Progress | None = None) -> Path:
    """Returns the directory below `root` that holds the archive's images; one unpacked earlier is used again.

    Args:
        archive: a zip file.
        root: the project's directory.
        progress: is called now and then with the files done and the files in all.

    Raises:
        ProjectError: it is no zip file, is damaged, encrypted or too large, leads elsewhere, or holds no images.
    """
    about = archive.stat()
    mark = {"archive": str(archive), "size": about.st_size, "mtime_ns": about.st_mtime_ns}
    parent = root / UNPACKED
    earlier = next((path.parent for path in sorted(parent.glob(f"*/{MARK}")) if _read(path) == mark), None)
    if earlier is not None:
        return earlier
    parent.mkdir(exist_ok=True)
    draft = parent / f".{archive.stem}.draft"
    shutil.rmtree(draft, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as opened:
            _extract(opened, archive, draft, progress or (lambda done, total: None))
        (draft / MARK).write_text(json.dumps(mark) + "\n", encoding="utf-8")
        place = _free(parent, archive.stem)
        draft.replace(place)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # bz2 raises one without, of a broken stream
            raise
        raise ProjectError(f"{archive} is not a zip file that can be read ({error}): make it again") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return place


def _extract(opened: zipfile.ZipFile, archive: Path, directory: Path, progress: Progress) -> None:
    wanted = _checked(opened, archive)
    size = sum(member.file_size for member in wanted)
    directory.mkdir()
    most = max(min(LARGEST, shutil.disk_usage(directory).free - SPARE), 0)
    if size > most:
        raise ProjectError(
            f"{archive} holds {size / 2**30:.1f} GiB, and at most {most / 2**30:.1f} GiB are unpacked here: "
            f"unpack it yourself and import the folder"
        )
    for done, member in enumerate(wanted, start=1):
        place = directory / member.filename
        place.parent.mkdir(parents=True, exist_ok=True)
        with opened.open(member) as source, place.open("xb") as file:
            shutil.copyfileobj(source, file, PIECE)
        if done % STEP == 0 or done == len(wanted):
            progress(done, len(wanted))


def _checked(opened: zipfile.ZipFile, archive: Path) -> list[zipfile.ZipInfo]:
    """Returns the images and tables of an archive, each path once, all of them below where they are unpacked."""
    wanted: dict[str, zipfile.ZipInfo] = {}
    for member in opened.infolist():
        path = PurePosixPath(member.filename)
        if path.is_absolute() or ".." in path.parts or "\\" in member.filename:
            raise ProjectError(
                f"{archive} holds {member.filename!r}, a path that leads elsewhere: make it again without"
            )
        if stat.S_ISLNK(member.external_attr >> 16):
            raise ProjectError(f"{archive} holds {member.filename!r}, a link: make it again with the file itself")
        hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
        if member.is_dir() or hidden or not (is_image(Path(path.name)) or path.suffix.lower() == ".csv"):
            continue
        if member.flag_bits & 1:
            raise ProjectError(f"{archive} is encrypted: unpack it yourself and import the folder")
        wanted[str(path)] = member
    if not any(is_image(Path(name)) for name in wanted):
        raise ProjectError(f"there are no images in {archive}: files count as images by how their names end")
    return list(wanted.values())


def _free(parent: Path, name: str) -> Path:
    number = 1
    while (place := parent / (name if number == 1 else f"{name}-{number}")).exists():
        number += 1
    return place


def _read(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
