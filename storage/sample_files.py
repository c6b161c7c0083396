"""Reads image files, and checks whether a file still holds the image that was imported from it.

A label belongs to the content that a person saw. A file that was replaced later is therefore never used with the label
of its sample. Every reader of a sample's image uses this module.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gradebook.storage.images import BrokenImage, decode
from gradebook.storage.samples import File, Sample, sample_id

if TYPE_CHECKING:
    from PIL import Image

    from gradebook.storage.catalog import Catalog
    from gradebook.storage.images import Ranges

CHANGED = "the file has changed since it was imported: import it again"


class ChangedFile(BrokenImage):
    """A file holds other content than its sample."""


def content_of(path: Path) -> bytes:
    """Returns the content of a file.

    Raises:
        BrokenImage: the file cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise BrokenImage(f"it cannot be read ({error.strerror or error})") from error


def content_of_sample(path: Path, sample: str) -> bytes:
    """Returns the content of a sample's file.

    Args:
        path: the file.
        sample: the sample's id, which is the hash of its content.

    Raises:
        BrokenImage: the file cannot be read.
        ChangedFile: it holds other content.
    """
    content = content_of(path)
    if sample_id(content) != sample:
        raise ChangedFile(CHANGED)
    return content


def open_sample(
    path: Path, sample: str, size: int | None = None, ranges: "Ranges | None" = None
) -> "tuple[Image.Image, bytes]":
    """Returns a sample's image, decoded by `gradebook.storage.images.decode`, and the content of its file.

    Args:
        path: the file.
        sample: the sample's id.
        size: see `gradebook.storage.images.open_rgb`.
        ranges: those of the project, see there too.

    Raises:
        BrokenImage: the file cannot be read or decoded; the message names it.
        ChangedFile: it holds other content.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BrokenImage(f"{path} cannot be read ({error.strerror or error})") from error
    if sample_id(content) != sample:
        raise ChangedFile(f"{path} cannot be used: {CHANGED}")
    try:
        return decode(content, size, ranges)[0], content
    except BrokenImage as error:
        raise BrokenImage(f"{path} cannot be used: {error}") from error


def changed_files(files: Iterable[File], *, hash_all: bool = False) -> list[File]:
    """Returns the files that hold other content than they did at their import; files that are missing do not count.

    Args:
        files: as the catalogue lists them.
        hash_all: hash the content of every file; otherwise only where size or time differ.
    """
    touched = (file for file in files if hash_all or _is_touched(file))
    return [file for file in touched if _content_id(file.filepath) not in (None, file.sample_id)]


def changed_samples(catalog: "Catalog", samples: Sequence[Sample]) -> list[Sample]:
    """Returns those of the samples whose file holds other content than at its import."""
    files = {file.filepath: file for file in catalog.files({sample.filepath for sample in samples})}
    listed = ((sample, files.get(sample.filepath)) for sample in samples)
    changed = changed_files(file for sample, file in listed if file and file.sample_id == sample.sample_id)
    paths = {file.filepath for file in changed}
    return [sample for sample in samples if sample.filepath in paths]


def file_problem(path: Path, sample: str) -> str:
    """Returns one sentence why a sample's file cannot be used, empty if it can."""
    try:
        content_of_sample(path, sample)
    except BrokenImage as error:
        return str(error)
    return ""


def _is_touched(file: File) -> bool:
    try:
        status = os.stat(file.filepath)  # noqa: PTH116  # twice as fast as pathlib's, and there may be 100,000
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) != (file.size, file.mtime_ns)


def _content_id(path: str) -> str | None:
    try:
        return sample_id(Path(path).read_bytes())
    except OSError:
        return None
