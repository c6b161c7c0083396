"""The views of a sample that a backbone embeds: plain, mirrored and strongly augmented. They are deterministic.

Shape legend    N samples    V views of a sample    S pixels
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Union

import numpy as np
from numpy.typing import NDArray

from gradebook.storage.images import BrokenImage, Ranges, decode, square
from gradebook.storage.sample_files import content_of_sample
from gradebook.storage.samples import Sample
from gradebook.storage.vectors import Space

if TYPE_CHECKING:
    from torch import Tensor

# A sample's views, uint8 (V, 3, S, S), or the error, as one sentence.
SampleViews = tuple[Sample, Union["Tensor", str]]


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of samples, ready for the network."""

    sample_ids: list[str]
    images: "Tensor"  # uint8 (N, V, 3, S, S)
    broken: list[tuple[str, str]]  # file and error of the samples that could not be read


class ViewDataset:
    """Returns the plain view of each sample, or its augmented ones."""

    def __init__(self, samples: Sequence[Sample], space: Space, ranges: Ranges | None = None, *, augmented: bool):
        self._samples = samples
        self._ranges = ranges
        self._space = space
        self._augmented = augmented

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, position: int) -> SampleViews:
        import torch

        from gradebook.mpl import augment

        sample, space = self._samples[position], self._space
        pixels = _pixels(sample, space.size, self._ranges)
        if isinstance(pixels, str):
            return sample, pixels
        plain = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()[None]
        if not self._augmented:
            return sample, plain
        mirrored = plain.flip(-1).expand(space.weak - 1, -1, -1, -1)
        seeds = [_seed(space.seed, sample.sample_id, view) for view in range(space.strong)]
        return sample, torch.cat([mirrored, augment.strong(plain.expand(len(seeds), -1, -1, -1), seeds)])


def collate(loaded: list[SampleViews]) -> Batch:
    """Makes a batch of the views of several samples."""
    import torch

    good = [(sample, views) for sample, views in loaded if not isinstance(views, str)]
    images = torch.stack([views for _, views in good]) if good else torch.empty(0, dtype=torch.uint8)
    broken = [(sample.filepath, views) for sample, views in loaded if isinstance(views, str)]
    return Batch([sample.sample_id for sample, _ in good], images, broken)


def _pixels(sample: Sample, size: int, ranges: Ranges | None) -> NDArray[np.uint8] | str:
    """Returns a sample's image, uint8 (S, S, 3), or the error: the file is broken, or has changed since the import."""
    try:
        content = content_of_sample(Path(sample.filepath), sample.sample_id)
        return np.array(square(decode(content, size, ranges)[0], size))
    except BrokenImage as error:
        return str(error)


def _seed(seed: int, sample_id: str, view: int) -> int:
    """Returns a 63-bit seed that depends only on the base seed, the sample and the view."""
    return int.from_bytes(blake2b(f"{seed}/{sample_id}/{view}".encode(), digest_size=8).digest()) >> 1
