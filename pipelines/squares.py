"""A project's images as trainings on pixels see them, each decoded once: `squares/SIZE/` keeps what came of it.

A telephone's photograph takes a hundred times as long to decode as its square takes to read, and a training asks for
each image again and again. A square is kept under its sample's id, which is the hash of the content that it was decoded
from, and only where it is the smaller of the two, so that squares never take more room than their images do. The
directory may be deleted at any time, also while a training reads from it.
"""

import errno
import os
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.progress import say
from storage.images import open_with_content, square
from storage.project import Project
from storage.samples import sample_id

SPARE = 2**31  # bytes that are left free on the disk, for checkpoints and all else


class Squares:
    """The images of some samples, stretched to squares; see `pipelines.trainer.pixels.Images`."""

    def __init__(self, project: Project, filepaths: Sequence[str], sample_ids: Sequence[str], size: int):
        """Reads no file yet.

        Args:
            project: whose directory keeps them.
            filepaths: where each sample's image is.
            sample_ids: of the same samples.
            size: S, pixels.
        """
        self._directory = _directory(project) / str(size)
        self._filepaths = filepaths
        self._sample_ids = sample_ids
        self._size = size
        self._keeps = True

    def read(self, position: int) -> NDArray[np.uint8]:
        """Returns the image (S, S, 3), from what is kept of it or from its file.

        Raises:
            BrokenImage: its file cannot be read.
        """
        sample = self._sample_ids[position]
        shape = (self._size, self._size, 3)
        place = _place(self._directory, sample)
        try:
            pixels = np.fromfile(place, np.uint8)
        except OSError:
            pixels = np.empty(0, np.uint8)
        if pixels.size == np.prod(shape):  # a machine that lost its power can leave a file shorter
            return pixels.reshape(shape)
        image, content = open_with_content(Path(self._filepaths[position]), self._size)
        pixels = np.array(square(image, self._size))
        if self._keeps and pixels.size < len(content) and sample_id(content) == sample:
            self._keep(pixels, place)
        return pixels

    def _keep(self, pixels: NDArray[np.uint8], place: Path) -> None:
        """Writes a square whole or not at all; where that fails, this process tries no more and says so."""
        draft = place.with_name(f".{place.name}.{os.getpid()}")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(place.parent).free < SPARE:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            try:
                pixels.tofile(draft)
                draft.replace(place)
            finally:
                draft.unlink(missing_ok=True)
        except OSError as error:
            self._keeps = False
            say(
                f"{self._directory} takes no more decoded images ({error.strerror or error}), so the others "
                "are decoded anew each time, which is slower: make room there for the next run"
            )


def drop(project: Project, sample_ids: Collection[str]) -> None:
    """Deletes the squares of these samples, of every size."""
    for size in _directory(project).glob("*"):
        for sample in sample_ids:
            _place(size, sample).unlink(missing_ok=True)


def _directory(project: Project) -> Path:
    return project.root / "squares"


def _place(directory: Path, sample: str) -> Path:
    return directory / sample[:2] / f"{sample}.rgb"
