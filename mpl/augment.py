"""Weak and strong views of a batch of images, each drawn from a seed of its own: no batch changes what an image gets.

weak      mirrored half of the time, shifted by up to an eighth of its side
strong    the weak view under RandAugment (Cubuk et al., 2020, https://arxiv.org/abs/1909.13719) and a square cut out
          (DeVries and Taylor, 2017, https://arxiv.org/abs/1708.04552)

RandAugment has one magnitude, so that images with the same operation and sign are moved together, by torchvision.

Shape legend    N images    H height    W width    K numbers an image
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

OPERATIONS = 2  # of RandAugment, one after the other
MAGNITUDE = 9  # of 30
CUT = 0.25  # side of the square that is cut out, as a share of the image's

Seeds = Sequence[int] | NDArray[np.uint64]  # N, below 2^64
Change = Callable[[Tensor], Tensor]  # of images, uint8 (N, 3, H, W)


def weak(images: Tensor, seeds: Seeds) -> Tensor:
    """Returns the weak views of images, uint8 (N, 3, H, W), as uint8 (N, 3, H, W)."""
    return _weak(images, _uniforms(seeds, 3))


def strong(images: Tensor, seeds: Seeds, *, magnitude: int = MAGNITUDE) -> Tensor:
    """Returns the strong views of images, uint8 (N, 3, H, W), as uint8 (N, 3, H, W); magnitudes go from 0 to 30."""
    drawn = _uniforms(seeds, 3 + OPERATIONS + 2)
    views = _weak(images, drawn[:, :3])
    changes = _changes(magnitude, *images.shape[-2:])
    for k in range(OPERATIONS):
        views = _each(views, changes, _whole(drawn[:, 3 + k], 2 * len(changes)))
    return _cut(views, drawn[:, -2:])


def _weak(images: Tensor, drawn: NDArray[np.float64]) -> Tensor:
    """Picks every pixel where mirroring and shifting take it from; beyond the edge the image is reflected."""
    height, width = images.shape[-2:]
    pad = max(1, width // 8)
    down, right = (_whole(drawn[:, k], 2 * pad + 1)[:, None] - pad for k in range(2))
    rows = _reflected(np.arange(height) + down, height)
    columns = _reflected(np.arange(width) + right, width)
    columns = np.where(drawn[:, 2:] < 0.5, width - 1 - columns, columns)
    flat = torch.from_numpy(rows[:, :, None] * width + columns[:, None, :]).to(images.device)
    index = flat.flatten(1)[:, None].expand(-1, images.shape[1], -1)
    return images.flatten(2).gather(2, index).reshape(images.shape)


def _each(images: Tensor, changes: Sequence[tuple[Change, Change]], chosen: NDArray[np.int64]) -> Tensor:
    """Returns every image under its change: number c of `chosen` (N,) is change c // 2, its first or second sign."""
    changed = images.clone()
    for number in np.unique(chosen):
        those = torch.from_numpy(np.flatnonzero(chosen == number)).to(images.device)
        changed[those] = changes[number // 2][number % 2](images[those])
    return changed


@lru_cache(maxsize=32)
def _changes(magnitude: int, height: int, width: int) -> list[tuple[Change, Change]]:
    """Returns RandAugment's operations, in torchvision's ranges; with a sign where one has a direction."""
    from torchvision.transforms.v2 import functional as image

    def strength(weakest: float, strongest: float) -> float:
        return float(torch.linspace(weakest, strongest, 31)[magnitude])  # rounded as torchvision's

    lean = math.degrees(math.atan(strength(0, 0.3)))
    right, down = (int(strength(0, 150 / 331 * extent)) for extent in (width, height))
    bits = round(strength(8, 4))
    blend = strength(0, 0.9)

    def affine(images: Tensor, **move: list[float]) -> Tensor:
        still = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]}
        moved: Tensor = image.affine(images, **(still | move))
        return moved

    def signed(change: Callable[[float], Change]) -> tuple[Change, Change]:
        return change(1.0), change(-1.0)

    def blended(change: Callable[[Tensor, float], Tensor]) -> tuple[Change, Change]:
        return signed(lambda sign: lambda images: change(images, 1 + sign * blend))

    def twice(change: Change) -> tuple[Change, Change]:
        return change, change

    return [
        twice(lambda images: images),
        signed(lambda sign: partial(affine, shear=[sign * lean, 0.0], center=[0, 0])),
        signed(lambda sign: partial(affine, shear=[0.0, sign * lean], center=[0, 0])),
        signed(lambda sign: partial(affine, translate=[int(sign) * right, 0])),
        signed(lambda sign: partial(affine, translate=[0, int(sign) * down])),
        signed(lambda sign: partial(image.rotate, angle=sign * strength(0, 30))),
        blended(image.adjust_brightness),
        blended(image.adjust_saturation),
        blended(image.adjust_contrast),
        blended(image.adjust_sharpness),
        twice(partial(image.posterize, bits=bits)),
        twice(partial(image.solarize, threshold=255 * strength(1, 0))),
        twice(image.autocontrast),
        twice(image.equalize),
    ]


def _cut(images: Tensor, drawn: NDArray[np.float64]) -> Tensor:
    """Returns the images with a grey square somewhere in each."""
    height, width = images.shape[-2:]
    side = max(1, int(CUT * min(height, width)))
    rows, columns = (_stretch(drawn[:, k], side, extent) for k, extent in enumerate((height, width)))
    square = torch.from_numpy(rows[:, None, :, None] & columns[:, None, None, :]).to(images.device)
    return images.masked_fill(square, 127)


def _stretch(drawn: NDArray[np.float64], side: int, extent: int) -> NDArray[np.bool_]:
    """Returns which of `extent` positions lie in a stretch of length `side` that begins where drawn (N, extent)."""
    after = np.arange(extent) - _whole(drawn, extent - side + 1)[:, None]
    inside: NDArray[np.bool_] = (after >= 0) & (after < side)
    return inside


def _uniforms(seeds: Seeds, k: int) -> NDArray[np.float64]:
    """Returns K numbers in [0, 1) for every seed, (N, K): SplitMix64 (Steele et al., 2014), all seeds at once."""
    state = _mixed(np.asarray(seeds, np.uint64))[:, None]
    steps = np.arange(1, k + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return (_mixed(state + steps) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mixed(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _whole(uniform: NDArray[np.float64], below: int) -> NDArray[np.int64]:
    """Returns whole numbers from 0 to below - 1, each as likely as another."""
    return (uniform * below).astype(np.int64)


def _reflected(position: NDArray[np.int64], extent: int) -> NDArray[np.int64]:
    """Returns where a position beyond an edge is found, the edge itself not repeated."""
    position = np.abs(position)
    reflected: NDArray[np.int64] = np.where(position > extent - 1, 2 * (extent - 1) - position, position)
    return reflected
