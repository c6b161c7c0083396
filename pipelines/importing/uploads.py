"""Files that were uploaded in the browser, written beside the project that they become."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from gradebook.storage.images import SUFFIXES
from gradebook.storage.project import SETTINGS, ProjectError

Upload = tuple[str, bytes]  # the file's name as the browser sends it, and its content


@dataclass(frozen=True, slots=True)
class Saved:
    """Uploaded files on disk."""

    images: Path  # the folder or zip file to import
    left_out: tuple[str, ...]  # names of files that are no images


def save_uploads(files: Sequence[Upload], root: Path) -> Saved:
    """Writes uploaded images, or one zip file, into the new directory `ROOT-images`.

    Args:
        files: at least one.
        root: where the project will be made.

    Raises:
        ProjectError: there is something at one of the places already, no file is an image, or a zip file is not alone.
    """
    directory = root.with_name(f"{root.name}-images")
    for path in (root, directory):
        if path.exists() and (path != root or (path / SETTINGS).exists() or any(path.iterdir())):
            raise ProjectError(f"there is something at {path} already: choose another folder for the project")
    zips = [name for name, _ in files if name.lower().endswith(".zip")]
    if zips and len(files) > 1:
        raise ProjectError(f"{zips[0]} is not alone: upload either one .zip or image files")
    images = [file for file in files if zips or PurePosixPath(file[0].lower()).suffix in SUFFIXES]
    if not images:
        raise ProjectError(f"{files[0][0]} is no image: upload image files, or one .zip of them")
    directory.mkdir(parents=True)
    paths = [_write(directory, name, content) for name, content in images]
    kept = {name for name, _ in images}
    return Saved(paths[0] if zips else directory, tuple(name for name, _ in files if name not in kept))


def _write(directory: Path, name: str, content: bytes) -> Path:
    """Writes a file under its name, which is not trusted, or a numbered one if another file has it."""
    plain = PurePosixPath(name.replace("\\", "/")).name.lstrip(".") or "image"
    path, number = directory / plain, 1
    while path.exists():
        number += 1
        path = directory / f"{Path(plain).stem}-{number}{Path(plain).suffix}"
    path.write_bytes(content)
    return path
