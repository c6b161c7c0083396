"""Batches of images, decoded and augmented by worker processes; what an image gets depends on its seed alone."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.draws import Draw, Positions

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from mpl.step import Batch

Request = tuple[int, str, int]  # position, view (plain, weak, strong), seed


class Pixels:
    """Images at a fixed size, uint8 (3, S, S), straight from their files."""

    def __init__(self, filepaths: Sequence[str], *, size: int, workers: int, device: "torch.device"):
        self._images = _Images(filepaths, size)
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
        from torch import Tensor
        from torch.utils.data import DataLoader

        dataset: Any = self._images  # a DataLoader asks for no more than __getitem__
        loader: DataLoader[Tensor] = DataLoader(
            dataset,
            batch_sampler=_Once(requests),
            num_workers=self._workers,
            pin_memory=self._device.type == "cuda",
        )
        for images in loader:
            yield images.to(self._device, non_blocking=True)

    def _on_device(self, positions: Positions) -> "Tensor":
        import torch

        return torch.from_numpy(positions).to(self._device)


class _Images:
    """What a worker reads: a request in, a view out."""

    def __init__(self, filepaths: Sequence[str], size: int):
        self._filepaths = filepaths
        self._size = size

    def __getitem__(self, request: Request) -> "Tensor":
        import torch

        from mpl import augment
        from storage.images import open_square

        position, view, seed = request
        pixels = np.asarray(open_square(Path(self._filepaths[position]), self._size))
        image = torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous()
        if view == "plain":
            return image
        return augment.weak(image, seed) if view == "weak" else augment.strong(image, seed)


class _Once:
    """An iterable as the batch sampler that a DataLoader asks for."""

    def __init__(self, requests: Iterable[list[Request]]):
        self._requests = requests

    def __iter__(self) -> Iterator[list[Request]]:
        return iter(self._requests)


def _requests(draw: Draw) -> list[Request]:
    b, u = len(draw.labelled), len(draw.unlabelled)
    views = ["weak"] * (b + u) + ["strong"] * u
    positions = [*draw.labelled, *draw.unlabelled, *draw.unlabelled]
    return [(int(p), view, int(seed)) for p, view, seed in zip(positions, views, draw.seeds, strict=True)]
