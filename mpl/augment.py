"""Weak and strong views of one image, drawn from a seed of its own: no order of work changes what an image gets.

weak      mirrored half of the time, shifted by up to an eighth of its side
strong    the weak view under RandAugment (Cubuk et al., 2020, https://arxiv.org/abs/1909.13719) and a square cut out
          (DeVries and Taylor, 2017, https://arxiv.org/abs/1708.04552)
"""

import torch
from torch import Tensor

OPERATIONS = 2  # of RandAugment, one after the other
MAGNITUDE = 9  # of 30
CUT = 0.25  # side of the square that is cut out, as a share of the image's


def weak(image: Tensor, seed: int) -> Tensor:
    """Returns the weak view of an image, uint8 (3, H, W), as uint8 (3, H, W)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _weak(image)


def strong(image: Tensor, seed: int, *, magnitude: int = MAGNITUDE) -> Tensor:
    """Returns the strong view of an image, uint8 (3, H, W), as uint8 (3, H, W); magnitudes go from 0 to 30."""
    from torchvision.transforms import v2

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        view: Tensor = v2.RandAugment(OPERATIONS, magnitude)(_weak(image))
        return _cut(view)


def _weak(image: Tensor) -> Tensor:
    from torchvision.transforms import v2

    pad = max(1, image.shape[-1] // 8)
    moves = v2.Compose(
        [v2.RandomHorizontalFlip(), v2.RandomCrop(list(image.shape[-2:]), padding=pad, padding_mode="reflect")]
    )
    view: Tensor = moves(image)
    return view


def _cut(image: Tensor) -> Tensor:
    height, width = image.shape[-2:]
    side = max(1, int(CUT * min(height, width)))
    top, left = (int(torch.randint(0, extent - side + 1, ())) for extent in (height, width))
    view = image.clone()
    view[..., top : top + side, left : left + side] = 127
    return view
