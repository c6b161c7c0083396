"""The image cache of a project: thumbnails for grids, and squares for training on pixels.

`thumbnails/`  Decoding two hundred large photographs for a grid would take many seconds. An import decodes each image
anyway and saves its thumbnail; images that were imported before get theirs when they are first shown.

`squares/SIZE/`  Decoding a photograph takes a hundred times as long as reading its square, and training reads it many
times. A square is cached only if it is smaller than the image's file, so the cache is never larger than the images.

Files are named by the sample's id, which is the hash of the image file's content.
"""

import io
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gradebook.pipelines.process.progress import say
from gradebook.storage import cache_files
from gradebook.storage.cache_files import CacheFiles
from gradebook.storage.images import BrokenImage, open_rgb, square
from gradebook.storage.project import Project
from gradebook.storage.sample_files import CHANGED, ChangedFile, file_problem, open_sample

THUMBNAIL_SIDE = 320  # pixels of the longer side
MIN_FILE_BYTES = 200_000  # images of smaller files have no thumbnail
JPEG_QUALITY = 90

_full_directories: set[Path] = set()  # directories in which this process has failed to write


def save_thumbnail(project: Project, sample: str, image: Image.Image, size: int) -> None:
    """Saves a thumbnail of an image if its file is large.

    Args:
        project: the project.
        sample: the id of the image's sample.
        image: the image, possibly at reduced size; nothing is saved if it is smaller than a thumbnail.
        size: bytes of the image's file.
    """
    if size >= MIN_FILE_BYTES and max(image.size) >= THUMBNAIL_SIDE:
        _write(cache_files.thumbnails(project), sample, as_jpeg(image, THUMBNAIL_SIDE))


def open_preview(project: Project, sample: str, filepath: Path, side: int) -> Image.Image:
    """Returns an image of at least `side` pixels on its longer side, if it has them, from its thumbnail if possible.

    Raises:
        BrokenImage: there is no thumbnail that is large enough, and the file cannot be read.
        ChangedFile: the file holds another image by now.
    """
    if side > THUMBNAIL_SIDE:
        return open_sample(filepath, sample, side, project.levels)[0]
    thumbnail = cache_files.thumbnails(project).path(sample)
    try:
        image = open_rgb(thumbnail)
        _check_source(thumbnail, filepath, sample)
        return image
    except ChangedFile:
        raise
    except BrokenImage:  # the thumbnail is corrupt or missing
        image, content = open_sample(filepath, sample, THUMBNAIL_SIDE if _is_large(filepath) else side, project.levels)
    save_thumbnail(project, sample, image, len(content))
    return image


def as_jpeg(image: Image.Image, side: int) -> bytes:
    """Returns an image as a JPEG file of at most `side` pixels in width and height."""
    small = image.copy()
    small.thumbnail((side, side))
    content = io.BytesIO()
    small.save(content, "JPEG", quality=JPEG_QUALITY)
    return content.getvalue()


def _check_source(thumbnail: Path, filepath: Path, sample: str) -> None:
    """Raises `ChangedFile` if the file is newer than its thumbnail and holds another image; a missing file is fine.

    A copy may keep the modification time of its original, so the time that the system gives to each change counts.
    """
    try:
        status, made_ns = filepath.stat(), thumbnail.stat().st_mtime_ns
    except OSError:
        return
    changed_ns = status.st_mtime_ns if os.name == "nt" else status.st_ctime_ns  # on Windows ctime is the creation
    if changed_ns < made_ns:
        return
    if file_problem(filepath, sample) == CHANGED:
        raise ChangedFile(f"{filepath} cannot be used: {CHANGED}")
    with suppress(OSError):  # a read-only project; otherwise the content is compared only once
        os.utime(thumbnail, ns=(changed_ns + 1, changed_ns + 1))


def _is_large(path: Path) -> bool:
    try:
        return path.stat().st_size >= MIN_FILE_BYTES
    except OSError:
        return False


class SquareImages:
    """Images of samples, resized to squares; implements `gradebook.pipelines.training.image_loader.Images`."""

    def __init__(self, project: Project, filepaths: Sequence[str], sample_ids: Sequence[str], size: int):
        """Prepares to read; opens no file yet.

        Args:
            project: the project.
            filepaths: paths of the images.
            sample_ids: ids of their samples.
            size: S, pixels.
        """
        self._cache = cache_files.squares(project, size)
        self._filepaths = filepaths
        self._sample_ids = sample_ids
        self._size = size
        self._levels = project.levels

    def read(self, position: int) -> NDArray[np.uint8]:
        """Returns the image (S, S, 3), from the cache or from its file.

        Raises:
            BrokenImage: its file cannot be read.
            ChangedFile: its file holds another image by now.
        """
        sample = self._sample_ids[position]
        shape = (self._size, self._size, 3)
        try:
            pixels = np.fromfile(self._cache.path(sample), np.uint8)
        except OSError:
            pixels = np.empty(0, np.uint8)
        if pixels.size == np.prod(shape):  # after a power failure a file can be truncated
            return pixels.reshape(shape)
        image, content = open_sample(Path(self._filepaths[position]), sample, self._size, self._levels)
        pixels = np.array(square(image, self._size))
        if pixels.size < len(content):
            _write(self._cache, sample, pixels.tobytes())
        return pixels


def _write(files: CacheFiles, sample_id: str, content: bytes) -> None:
    """Caches a sample's file. After the first failure this process prints a message and stops caching."""
    if files.directory in _full_directories:
        return
    try:
        files.write(sample_id, content)
    except OSError as error:
        _full_directories.add(files.directory)
        say(
            f"images can no longer be cached in {files.directory} ({error.strerror or error}), so they are decoded "
            "each time, which is slower: free some space there, then start again"
        )
