"""Gradients that are gathered from a batch's parts, one after the other, for batches whose graph does not fit.

The network gives the logits of the whole batch, without a graph inside; in the backward pass each part is computed a
second time and its gradient added up, so that one part's graph is alive at a time (Gao et al., 2021,
https://arxiv.org/abs/2101.06983). Losses see the whole batch: what compares images with each other, thresholds over
a batch and the feedback's product are those of the undivided step.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from gradebook.mpl.sharding import recomputed


def accumulate(net: nn.Module, parts: int) -> None:
    """Makes the network take its batches (N, ...) in parts, in place; the gradient stays that of the whole batch.

    Part k has images k, k + parts, k + 2 parts and so on, so that each has its share of every kind of images in a
    batch. BatchNorm normalises within a part, as it does within a process; its running statistics move once a part.

    Args:
        net: takes (N, ...) and gives (N, K).
        parts: at least 1, which changes nothing.
    """
    assert parts >= 1
    if parts > 1:
        net.forward = partial(_in_parts, net, net.forward, parts)


def _in_parts(net: nn.Module, forward: Callable[[Tensor], Tensor], parts: int, x: Tensor) -> Tensor:
    order = torch.arange(len(x), device=x.device)
    places = [order[k::parts] for k in range(min(parts, len(x)))]
    logits = torch.cat([recomputed(net, forward, x[k::parts]) for k in range(len(places))])
    return logits[torch.cat(places).argsort()]
