"""Decoded images kept in a project's directory: thumbnails for grids, squares for training on pixels.

`thumbnails/`  A photograph from a telephone has megabytes; two hundred of them take a grid many seconds to decode and
FiftyOne's browser longer to fetch. An import decodes each image anyway and keeps its thumbnail; for images imported
before, the first request makes it.

`squares/SIZE/`  A photograph takes a hundred times as long to decode as its square takes to read, and training asks for
each image again and again. A square is kept only where it is smaller than the image's file, so that squares never take
more room than the images do.

Both are named by the sample's id, which is the hash of the content that they were decoded from.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gradebook.pipelines.process.progress import say
from gradebook.storage import cache_files
from gradebook.storage.cache_files import CacheFiles
from gradebook.storage.images import BrokenImage, open_rgb, open_with_content, square
from gradebook.storage.project import Project
from gradebook.storage.samples import sample_id

SIDE = 320  # pixels of the longer side
LARGE = 200_000  # bytes of a file from which on its image has a thumbnail
QUALITY = 90  # of the JPEG

_full: set[Path] = set()  # directories in which this process has failed to write


def save_thumbnail(project: Project, sample: str, image: Image.Image, size: int) -> None:
    """Keeps a thumbnail of an image if its file is large.

    Args:
        project: whose directory keeps it.
        sample: the id of the image's sample.
        image: the image, perhaps at a fraction of its size. Where that is smaller than a thumbnail, none is kept.
        size: bytes of its file.
    """
    if size >= LARGE and max(image.size) >= SIDE:
        _keep(cache_files.thumbnails(project), sample, as_jpeg(image, SIDE))


def open_preview(project: Project, sample: str, filepath: Path, side: int) -> Image.Image:
    """Returns an image of at least `side` pixels the longer way, if it has so many, from its thumbnail if that will do.

    Raises:
        BrokenImage: there is no thumbnail that will do, and the file cannot be read.
    """
    if side > SIDE:
        return open_rgb(filepath, side)
    try:
        return open_rgb(cache_files.thumbnails(project).path(sample))
    except BrokenImage:  # it is damaged, or there is none
        if not _is_large(filepath):
            return open_rgb(filepath, side)
    image, content = open_with_content(filepath, SIDE)
    if sample_id(content) == sample:
        save_thumbnail(project, sample, image, len(content))
    return image


def as_jpeg(image: Image.Image, side: int) -> bytes:
    """Returns an image as a JPEG file of at most `side` pixels either way."""
    small = image.copy()
    small.thumbnail((side, side))
    content = io.BytesIO()
    small.save(content, "JPEG", quality=QUALITY)
    return content.getvalue()


def _is_large(path: Path) -> bool:
    try:
        return path.stat().st_size >= LARGE
    except OSError:
        return False


class SquareImages:
    """The images of some samples, stretched to squares; see `gradebook.pipelines.training.image_loader.Images`."""

    def __init__(self, project: Project, filepaths: Sequence[str], sample_ids: Sequence[str], size: int):
        """Reads no file yet.

        Args:
            project: whose directory keeps them.
            filepaths: where each sample's image is.
            sample_ids: of the same samples.
            size: S, pixels.
        """
        self._kept = cache_files.squares(project, size)
        self._filepaths = filepaths
        self._sample_ids = sample_ids
        self._size = size

    def read(self, position: int) -> NDArray[np.uint8]:
        """Returns the image (S, S, 3), from what is kept of it or from its file.

        Raises:
            BrokenImage: its file cannot be read.
        """
        sample = self._sample_ids[position]
        shape = (self._size, self._size, 3)
        try:
            pixels = np.fromfile(self._kept.path(sample), np.uint8)
        except OSError:
            pixels = np.empty(0, np.uint8)
        if pixels.size == np.prod(shape):  # a machine that lost its power can leave a file shorter
            return pixels.reshape(shape)
        image, content = open_with_content(Path(self._filepaths[position]), self._size)
        pixels = np.array(square(image, self._size))
        if pixels.size < len(content) and sample_id(content) == sample:
            _keep(self._kept, sample, pixels.tobytes())
        return pixels


def _keep(files: CacheFiles, sample_id: str, content: bytes) -> None:
    """Keeps a sample's file; where that fails, this process says so and tries no more."""
    if files.directory in _full:
        return
    try:
        files.write(sample_id, content)
    except OSError as error:
        _full.add(files.directory)
        say(
            f"{files.directory} takes no more files ({error.strerror or error}), so that images are decoded anew each "
            "time, which is slower: make room there, and start this again"
        )
