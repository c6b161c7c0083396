"""The views of a sample that a backbone embeds: plain, mirrored and strong, the same ones whenever they are made.

Shape legend    N samples    V views a sample    S pixels
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Union

import numpy as np
from numpy.typing import NDArray

from gradebook.storage.images import BrokenImage, content_of, decode, square
from gradebook.storage.samples import Sample, sample_id
from gradebook.storage.vectors import Space

if TYPE_CHECKING:
    from torch import Tensor

# A sample's views, uint8 (V, 3, S, S), or one sentence why there are none.
SampleViews = tuple[Sample, Union["Tensor", str]]


@dataclass(frozen=True, slots=True)
class Batch:
    """Some samples, ready for the network."""

    sample_ids: list[str]
    images: "Tensor"  # uint8 (N, V, 3, S, S)
    broken: list[tuple[str, str]]  # the file, and why


class ViewDataset:
    """Makes the plain view of each sample, or its augmented ones."""

    def __init__(self, samples: Sequence[Sample], space: Space, *, augmented: bool):
        self._samples = samples
        self._space = space
        self._augmented = augmented

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, position: int) -> SampleViews:
        import torch

        from gradebook.mpl import augment

        sample, space = self._samples[position], self._space
        pixels = _pixels(sample, space.size)
        if isinstance(pixels, str):
            return sample, pixels
        plain = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()[None]
        if not self._augmented:
            return sample, plain
        mirrored = plain.flip(-1).expand(space.weak - 1, -1, -1, -1)
        seeds = [_seed(space.seed, sample.sample_id, view) for view in range(space.strong)]
        return sample, torch.cat([mirrored, augment.strong(plain.expand(len(seeds), -1, -1, -1), seeds)])


def collate(made: list[SampleViews]) -> Batch:
    """Puts the views of some samples together."""
    import torch

    good = [(sample, views) for sample, views in made if not isinstance(views, str)]
    images = torch.stack([views for _, views in good]) if good else torch.empty(0, dtype=torch.uint8)
    broken = [(sample.filepath, views) for sample, views in made if isinstance(views, str)]
    return Batch([sample.sample_id for sample, _ in good], images, broken)


def _pixels(sample: Sample, size: int) -> NDArray[np.uint8] | str:
    """Returns a sample's image, uint8 (S, S, 3), or one sentence why not, also where its file holds another now."""
    try:
        content = content_of(Path(sample.filepath))
        if sample_id(content) != sample.sample_id:
            return "the file has changed since it was imported: import it again"
        return np.array(square(decode(content, size)[0], size))
    except BrokenImage as error:
        return str(error)


def _seed(seed: int, sample_id: str, view: int) -> int:
    """Returns 63 bits that depend on nothing but the sample and the view."""
    return int.from_bytes(blake2b(f"{seed}/{sample_id}/{view}".encode(), digest_size=8).digest()) >> 1
