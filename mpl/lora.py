"""Low-rank adapters on the attention of a frozen network (LoRA, Hu et al., 2021, https://arxiv.org/abs/2106.09685).

The weight W (E, D) of a linear layer becomes W + (α/r) B A with A (r, D) and B (E, r), of which only A and B are
trained. B starts at zero, so the network is unchanged at first. `merged` replaces W by the sum.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

ALPHA = 16.0


class LowRank(nn.Module):
    """Low-rank term of a linear layer's weight."""

    def __init__(self, outputs: int, inputs: int, rank: int):
        super().__init__()
        self.down = nn.Parameter(torch.empty(rank, inputs).uniform_(-1, 1) / inputs**0.5)
        self.up = nn.Parameter(torch.zeros(outputs, rank))
        self.scale = ALPHA / rank

    def forward(self, weight: Tensor) -> Tensor:
        """Returns W + (α/r) B A, (E, D)."""
        return weight + self.scale * self.up @ self.down


def adapt(net: nn.Module, rank: int, *, trained: nn.Module | None = None) -> list[str]:
    """Freezes a network, in place, except for new adapters on the linear layers of its attention.

    Args:
        net: a timm model, or one around it.
        rank: r.
        trained: a module of it that is trained as a whole, such as its new classifier.

    Returns:
        The names of the layers with adapters. A network without such layers is unchanged.
    """
    layers = {
        name: layer
        for name, layer in net.named_modules()
        if isinstance(layer, nn.Linear) and "attn" in name.split(".")[-2:][0]
    }
    if layers:
        net.requires_grad_(False)
    for layer in layers.values():
        parametrize.register_parametrization(layer, "weight", LowRank(layer.out_features, layer.in_features, rank))
    if layers and trained is not None:
        trained.requires_grad_(True)
    return list(layers)


def merged(net: nn.Module) -> dict[str, Tensor]:
    """Returns a network's state with the adapters merged into the weights, under the weights' own names."""
    state = dict(net.state_dict())
    for name, module in net.named_modules():
        if parametrize.is_parametrized(module, "weight"):
            layer: Any = module
            prefix = f"{name}.parametrizations.weight."
            state = {key: value for key, value in state.items() if not key.startswith(prefix)}
            state[f"{name}.weight"] = layer.weight.detach()
    return state
