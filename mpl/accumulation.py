"""Gradient accumulation over parts of a batch, for batches whose graph does not fit into memory.

The network returns the logits of the whole batch, computed without a graph. In the backward pass each part is
recomputed and its gradient added, so that the graph of one part is in memory at a time (Gao et al., 2021,
https://arxiv.org/abs/2101.06983). Losses see the whole batch, so comparisons between images, thresholds over a batch
and the feedback are those of the undivided step.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from gradebook.mpl.sharding import recomputed


def accumulate(net: nn.Module, parts: int) -> None:
    """Makes the network process its batches (N, ...) in parts, in place; the gradient is that of the whole batch.

    Part k has images k, k + parts, k + 2 parts and so on, so that each part has a mix of all kinds of images.
    BatchNorm normalises within a part, as it does within a process; its running statistics are updated once a part.

    Args:
        net: maps (N, ...) to (N, K).
        parts: at least 1; 1 changes nothing.
    """
    assert parts >= 1
    if parts > 1:
        net.forward = partial(_in_parts, net, net.forward, parts)


def _in_parts(net: nn.Module, forward: Callable[[Tensor], Tensor], parts: int, x: Tensor) -> Tensor:
    order = torch.arange(len(x), device=x.device)
    indices = [order[k::parts] for k in range(min(parts, len(x)))]
    logits = torch.cat([recomputed(net, forward, x[k::parts]) for k in range(len(indices))])
    return logits[torch.cat(indices).argsort()]
