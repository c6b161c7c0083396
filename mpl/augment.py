"""Weak and strong augmentation of a batch of images. Each image has its own seed, so its view is the same in any batch.

weak      horizontal flip with probability 1/2, translation by up to an eighth of the width in each direction
strong    the weak view, then RandAugment (Cubuk et al., 2020, https://arxiv.org/abs/1909.13719) and Cutout
          (DeVries and Taylor, 2017, https://arxiv.org/abs/1708.04552)

The magnitude of RandAugment is the same for all images, so torchvision transforms images with the same operation and
sign together.

Shape legend    N images    H height    W width    K random numbers per image
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

OPERATIONS = 2  # of RandAugment per image
MAGNITUDE = 9  # of RandAugment, from 0 to 30
CUTOUT = 0.25  # side of the square that is cut out, as a fraction of the shorter side

Seeds = Sequence[int] | NDArray[np.uint64]  # N, below 2^64
Transform = Callable[[Tensor], Tensor]  # of images, uint8 (N, 3, H, W)


def weak(images: Tensor, seeds: Seeds) -> Tensor:
    """Returns the weak views of images, uint8 (N, 3, H, W), as uint8 (N, 3, H, W)."""
    return _weak(images, _uniforms(seeds, 3))


def strong(images: Tensor, seeds: Seeds, *, magnitude: int = MAGNITUDE) -> Tensor:
    """Returns the strong views of images, uint8 (N, 3, H, W), as uint8 (N, 3, H, W)."""
    uniforms = _uniforms(seeds, 3 + OPERATIONS + 2)
    views = _weak(images, uniforms[:, :3])
    transforms = _transforms(magnitude, *images.shape[-2:])
    for k in range(OPERATIONS):
        views = _apply(views, transforms, _integers(uniforms[:, 3 + k], 2 * len(transforms)))
    return _cutout(views, uniforms[:, -2:])


def _weak(images: Tensor, uniforms: NDArray[np.float64]) -> Tensor:
    """Flips and translates each image by gathering pixels, with reflection padding."""
    height, width = images.shape[-2:]
    pad = max(1, width // 8)
    down, right = (_integers(uniforms[:, k], 2 * pad + 1)[:, None] - pad for k in range(2))
    rows = _reflected(np.arange(height) + down, height)
    columns = _reflected(np.arange(width) + right, width)
    columns = np.where(uniforms[:, 2:] < 0.5, width - 1 - columns, columns)
    flat = torch.from_numpy(rows[:, :, None] * width + columns[:, None, :]).to(images.device)
    index = flat.flatten(1)[:, None].expand(-1, images.shape[1], -1)
    return images.flatten(2).gather(2, index).reshape(images.shape)


def _apply(images: Tensor, transforms: Sequence[tuple[Transform, Transform]], chosen: NDArray[np.int64]) -> Tensor:
    """Returns each image transformed by its operation: c of `chosen` (N,) is operation c // 2 with sign c % 2."""
    transformed = images.clone()
    for c in np.unique(chosen):
        index = torch.from_numpy(np.flatnonzero(chosen == c)).to(images.device)
        transformed[index] = transforms[c // 2][c % 2](images[index])
    return transformed


@lru_cache(maxsize=32)
def _transforms(magnitude: int, height: int, width: int) -> list[tuple[Transform, Transform]]:
    """Returns RandAugment's operations in torchvision's ranges, each for a positive and a negative sign."""
    from torchvision.transforms.v2 import functional as image

    def strength(weakest: float, strongest: float) -> float:
        return float(torch.linspace(weakest, strongest, 31)[magnitude])  # the same rounding as in torchvision

    shear = math.degrees(math.atan(strength(0, 0.3)))
    right, down = (int(strength(0, 150 / 331 * extent)) for extent in (width, height))
    bits = round(strength(8, 4))
    blend = strength(0, 0.9)

    def affine(images: Tensor, **move: list[float]) -> Tensor:
        identity = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]}
        moved: Tensor = image.affine(images, **(identity | move))
        return moved

    def signed(transform: Callable[[float], Transform]) -> tuple[Transform, Transform]:
        return transform(1.0), transform(-1.0)

    def blended(adjust: Callable[[Tensor, float], Tensor]) -> tuple[Transform, Transform]:
        return signed(lambda sign: lambda images: adjust(images, 1 + sign * blend))

    def unsigned(transform: Transform) -> tuple[Transform, Transform]:
        return transform, transform

    return [
        unsigned(lambda images: images),
        signed(lambda sign: partial(affine, shear=[sign * shear, 0.0], center=[0, 0])),
        signed(lambda sign: partial(affine, shear=[0.0, sign * shear], center=[0, 0])),
        signed(lambda sign: partial(affine, translate=[int(sign) * right, 0])),
        signed(lambda sign: partial(affine, translate=[0, int(sign) * down])),
        signed(lambda sign: partial(image.rotate, angle=sign * strength(0, 30))),
        blended(image.adjust_brightness),
        blended(image.adjust_saturation),
        blended(image.adjust_contrast),
        blended(image.adjust_sharpness),
        unsigned(partial(image.posterize, bits=bits)),
        unsigned(partial(image.solarize, threshold=255 * strength(1, 0))),
        unsigned(image.autocontrast),
        unsigned(image.equalize),
    ]


def _cutout(images: Tensor, uniforms: NDArray[np.float64]) -> Tensor:
    """Returns the images with a grey square at a random position."""
    height, width = images.shape[-2:]
    side = max(1, int(CUTOUT * min(height, width)))
    rows, columns = (_interval(uniforms[:, k], side, extent) for k, extent in enumerate((height, width)))
    square = torch.from_numpy(rows[:, None, :, None] & columns[:, None, None, :]).to(images.device)
    return images.masked_fill(square, 127)


def _interval(uniforms: NDArray[np.float64], side: int, extent: int) -> NDArray[np.bool_]:
    """Returns (N, extent) whether each position lies in an interval of length `side` with a random start."""
    offset = np.arange(extent) - _integers(uniforms, extent - side + 1)[:, None]
    inside: NDArray[np.bool_] = (offset >= 0) & (offset < side)
    return inside


def _uniforms(seeds: Seeds, k: int) -> NDArray[np.float64]:
    """Returns K uniform numbers in [0, 1) for each seed, (N, K), by a vectorised SplitMix64 (Steele et al., 2014)."""
    state = _mix(np.asarray(seeds, np.uint64))[:, None]
    steps = np.arange(1, k + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return (_mix(state + steps) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _integers(uniform: NDArray[np.float64], below: int) -> NDArray[np.int64]:
    """Returns uniform integers from 0 to below - 1."""
    return (uniform * below).astype(np.int64)


def _reflected(position: NDArray[np.int64], extent: int) -> NDArray[np.int64]:
    """Returns positions with those beyond an edge reflected; the edge itself is not repeated."""
    position = np.abs(position)
    reflected: NDArray[np.int64] = np.where(position > extent - 1, 2 * (extent - 1) - position, position)
    return reflected
