"""Batches of images, decoded and augmented by worker processes; what an image gets depends on its seed alone."""

import signal
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.config import ConfigError
from pipelines.draws import Draw, Positions

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from mpl.step import Batch

Request = tuple[int, str, int]  # position, view (plain, weak, strong), seed


class Images(Protocol):
    """Where pictures come from, by position."""

    def read(self, position: int) -> NDArray[np.uint8]:
        """Returns the image (S, S, 3).

        Raises:
            BrokenImage: its file cannot be read.
        """


@dataclass(frozen=True, slots=True)
class Files:
    """Images straight from their files."""

    filepaths: Sequence[str]
    size: int  # S, pixels

    def read(self, position: int) -> NDArray[np.uint8]:
        """See `Images`."""
        from storage.images import open_square

        return np.array(open_square(Path(self.filepaths[position]), self.size))


@dataclass(frozen=True, slots=True)
class InMemory:
    """Images that are all in memory."""

    pixels: NDArray[np.uint8]  # (N, H, W, 3)
    size: int  # S, pixels

    def read(self, position: int) -> NDArray[np.uint8]:
        """See `Images`."""
        if self.pixels.shape[1:3] == (self.size, self.size):
            image: NDArray[np.uint8] = self.pixels[position]
            return image
        from PIL import Image

        from storage.images import square

        return np.array(square(Image.fromarray(self.pixels[position]), self.size))


class Pixels:
    """Images at a fixed size, uint8 (3, S, S), decoded and augmented as they are needed."""

    def __init__(self, images: Images, *, workers: int, device: "torch.device", magnitude: int = 9):
        self._images = _Views(images, magnitude)
        self._workers = workers
        self._device = device

    def batches(self, draws: Iterable[Draw], labels: "Tensor") -> "Iterator[Batch]":
        """See `pipelines.data.Source`. Labelled images come in a weak view."""
        from mpl.step import Batch

        kept: list[Draw] = []

        def requests() -> Iterator[list[Request]]:
            for draw in draws:
                kept.append(draw)
                yield _requests(draw)

        for images in self._load(requests()):
            draw = kept.pop(0)
            b, u = len(draw.labelled), len(draw.unlabelled)
            x_l, x_uw, x_us = images.split([b, u, u])
            positions = [self._on_device(p) for p in (draw.labelled, draw.unlabelled)]
            yield Batch(x_l=x_l, y_l=labels[positions[0]], x_uw=x_uw, x_us=x_us, id_u=positions[1])

    def plain(self, positions: Positions, *, chunk: int) -> "Iterator[Tensor]":
        """See `pipelines.data.Source`."""
        parts = [positions[k : k + chunk] for k in range(0, len(positions), chunk)]
        yield from self._load([(int(p), "plain", 0) for p in part] for part in parts)

    def _load(self, requests: Iterable[list[Request]]) -> "Iterator[Tensor]":
        import torch
        from torch.utils.data import DataLoader

        dataset: Any = self._images  # a DataLoader asks for no more than __getitem__
        loader: DataLoader[Tensor | str] = DataLoader(
            dataset,
            batch_sampler=_Once(requests),
            collate_fn=_together,
            num_workers=self._workers,
            worker_init_fn=_let_the_trainer_stop,
            generator=torch.Generator(),  # its own: a loader takes a number of the one that the run resumes with
            pin_memory=self._device.type == "cuda",
        )
        for images in loader:
            if isinstance(images, str):
                raise ConfigError(f"{images}; put the file back, or start a new run without it")
            yield images.to(self._device, non_blocking=True)

    def _on_device(self, positions: Positions) -> "Tensor":
        import torch

        return torch.from_numpy(positions).to(self._device)


class _Views:
    """What a worker reads: a request in, a view out, or the sentence why there is none."""

    def __init__(self, images: Images, magnitude: int):
        self._images = images
        self._magnitude = magnitude

    def __getitem__(self, request: Request) -> "Tensor | str":
        import torch

        from mpl import augment
        from storage.images import BrokenImage

        position, view, seed = request
        try:
            pixels = self._images.read(position)
        except BrokenImage as error:
            return str(error)
        image = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
        if view == "plain":
            return image
        return augment.weak(image, seed) if view == "weak" else augment.strong(image, seed, magnitude=self._magnitude)


class _Once:
    """An iterable as the batch sampler that a DataLoader asks for."""

    def __init__(self, requests: Iterable[list[Request]]):
        self._requests = requests

    def __iter__(self) -> Iterator[list[Request]]:
        return iter(self._requests)


def _together(images: "list[Tensor | str]") -> "Tensor | str":
    """Returns the images as one tensor, or the first sentence that stands in their place."""
    import torch

    views = [image for image in images if not isinstance(image, str)]
    return torch.stack(views) if len(views) == len(images) else next(i for i in images if isinstance(i, str))


def _let_the_trainer_stop(worker: int) -> None:
    """Leaves Ctrl-C, which a terminal sends to every process, to the trainer: it needs its workers to the end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _requests(draw: Draw) -> list[Request]:
    b, u = len(draw.labelled), len(draw.unlabelled)
    views = ["weak"] * (b + u) + ["strong"] * u
    positions = [*draw.labelled, *draw.unlabelled, *draw.unlabelled]
    return [(int(p), view, int(seed)) for p, view, seed in zip(positions, views, draw.seeds, strict=True)]
