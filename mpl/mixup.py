"""Mixed inputs (mixup, Zhang et al., 2018, https://arxiv.org/abs/1710.09412), on images and on features alike.

Shape legend    N inputs    ... an image (C, H, W) or features (D,)

Orders come from torch's generator of the inputs' device, mixing coefficients from the CPU's; checkpoints hold both
states. Each process mixes within its own slice of the batch.
"""

import torch
from torch import Tensor


def floating(x: Tensor) -> Tensor:
    """Returns inputs as floating-point numbers: images stored as bytes become float32, still from 0 to 255."""
    return x if x.is_floating_point() else x.float()


def shares(n: int, alpha: float, x: Tensor) -> Tensor:
    """Draws n coefficients from Beta(alpha, alpha): (n,), with the type and device of `floating(x)`."""
    concentration = torch.full((), alpha, dtype=floating(x[:0]).dtype)
    drawn = torch.distributions.Beta(concentration, concentration, validate_args=False).sample(torch.Size([n]))
    return drawn.to(x.device, non_blocking=True)


def mixed(one: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """Returns share · one + (1 - share) · other for each of N rows (N, ...); `share` is (N,)."""
    share = share.to(one.dtype).view(-1, *[1] * (one.dim() - 1))
    return share * one + (1 - share) * other


def shuffled(n: int, x: Tensor) -> Tensor:
    """Draws a permutation of n rows: (n,) int64, on the device of `x`."""
    return torch.randperm(n, device=x.device)
