"""A project's images as trainings on pixels see them, each decoded once: `squares/SIZE/` keeps what came of it.

A telephone's photograph takes a hundred times as long to decode as its square takes to read, and a training asks for
each image again and again. A square is kept under its sample's id, which is the hash of the content that it was decoded
from, and only where it is the smaller of the two, so that squares never take more room than their images do.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.keeping import keep
from storage import cache_files
from storage.images import open_with_content, square
from storage.project import Project
from storage.samples import sample_id


class Squares:
    """The images of some samples, stretched to squares; see `pipelines.training.image_loader.Images`."""

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
            keep(self._kept, sample, pixels.tobytes())
        return pixels
