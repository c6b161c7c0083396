"""Batches of images, decoded by worker processes and augmented on the device; a view depends on its seed alone.

For XLA the CPU augments: every step draws other operations for other numbers of images, and XLA would compile a program
for each combination.
"""

import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gradebook.pipelines.training.config import ConfigError
from gradebook.pipelines.training.sampler import Draw, Positions

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from gradebook.mpl.step import Batch


class Images(Protocol):
    """Images by position."""

    def read(self, position: int) -> NDArray[np.uint8]:
        """Returns the image (S, S, 3).

        Raises:
            BrokenImage: its file cannot be read.
        """


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """Images in files."""

    filepaths: Sequence[str]
    size: int  # S, pixels

    def read(self, position: int) -> NDArray[np.uint8]:
        """See `Images`."""
        from gradebook.storage.images import open_square

        return np.array(open_square(Path(self.filepaths[position]), self.size))


@dataclass(frozen=True, slots=True)
class ImageArray:
    """Images in memory."""

    pixels: NDArray[np.uint8]  # (N, H, W, 3)
    size: int  # S, pixels

    def read(self, position: int) -> NDArray[np.uint8]:
        """See `Images`."""
        if self.pixels.shape[1:3] == (self.size, self.size):
            image: NDArray[np.uint8] = self.pixels[position]
            return image
        from PIL import Image

        from gradebook.storage.images import square

        return np.array(square(Image.fromarray(self.pixels[position]), self.size))


class ImageLoader:
    """Images of a fixed size, uint8 (3, S, S), decoded and augmented when they are needed."""

    def __init__(self, images: Images, *, workers: int, device: "torch.device", magnitude: int = 9):
        import torch

        self._images = _ImageDataset(images)
        self._workers = min(workers, os.cpu_count() or 1)
        self._device = device
        self._augment_on = torch.device("cpu") if device.type == "xla" else device
        self._magnitude = magnitude

    def batches(self, draws: Iterable[Draw], labels: "Tensor") -> "Iterator[Batch]":
        """See `gradebook.pipelines.training.dataset.InputSource`. Labelled images come in a weak view."""
        from gradebook.mpl import augment
        from gradebook.mpl.step import Batch
        from gradebook.mpl.step_timer import phase

        pending: list[Draw] = []  # drawn, their images not yet decoded

        def positions() -> Iterator[Positions]:
            for draw in draws:
                pending.append(draw)
                yield np.concatenate([draw.labelled, draw.unlabelled])

        for images in self._load(positions(), self._augment_on):
            draw = pending.pop(0)
            b, u = len(draw.labelled), len(draw.unlabelled)
            labelled, unlabelled = images.split([b, u])
            weak_l, weak_u, strong_u = np.split(draw.seeds, [b, b + u])
            id_l, id_u = (self._on_device(p) for p in (draw.labelled, draw.unlabelled))
            with phase("augmentation"):
                views = (
                    augment.weak(labelled, weak_l),
                    augment.weak(unlabelled, weak_u),
                    augment.strong(unlabelled, strong_u, magnitude=self._magnitude),
                )
                x_l, x_uw, x_us = (view.to(self._device, non_blocking=True) for view in views)
            yield Batch(x_l=x_l, y_l=labels[id_l], x_uw=x_uw, x_us=x_us, id_u=id_u)

    def unaugmented(self, positions: Positions, *, batch: int) -> "Iterator[Tensor]":
        """See `gradebook.pipelines.training.dataset.InputSource`."""
        yield from self._load((positions[k : k + batch] for k in range(0, len(positions), batch)), self._device)

    def _load(self, parts: Iterable[Positions], device: "torch.device") -> "Iterator[Tensor]":
        import torch
        from torch.utils.data import DataLoader

        dataset: Any = self._images  # a DataLoader asks for no more than __getitem__
        loader: DataLoader[Tensor | str] = DataLoader(
            dataset,
            batch_sampler=_BatchSampler(parts),
            collate_fn=_stack,
            num_workers=self._workers,
            worker_init_fn=_ignore_interrupts,
            generator=torch.Generator(),  # not the global one, from which the run resumes
            pin_memory=device.type == "cuda",
        )
        for images in loader:
            if isinstance(images, str):
                raise ConfigError(f"{images}; put the file back, or start a new run without it")
            yield images.to(device, non_blocking=True)

    def _on_device(self, positions: Positions) -> "Tensor":
        import torch

        return torch.from_numpy(positions).to(self._device)


class _ImageDataset:
    """The dataset of a DataLoader: an image, uint8 (3, S, S), by position, or the message why it cannot be read."""

    def __init__(self, images: Images):
        self._images = images

    def __getitem__(self, position: int) -> "Tensor | str":
        import torch

        from gradebook.storage.images import BrokenImage

        try:
            return torch.from_numpy(self._images.read(position)).permute(2, 0, 1)
        except BrokenImage as error:
            return str(error)


class _BatchSampler:
    """The batch sampler of a DataLoader, from an iterable of batches of positions."""

    def __init__(self, parts: Iterable[Positions]):
        self._parts = parts

    def __iter__(self) -> Iterator[list[int]]:
        return (part.tolist() for part in self._parts)


def _stack(images: "list[Tensor | str]") -> "Tensor | str":
    """Returns the images as one tensor, or the first message that stands for one."""
    import torch

    tensors = [image for image in images if not isinstance(image, str)]
    return torch.stack(tensors) if len(tensors) == len(images) else next(i for i in images if isinstance(i, str))


def _ignore_interrupts(worker: int) -> None:
    """Ignores Ctrl-C, which a terminal sends to every process: the trainer needs its workers until it has stopped."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
