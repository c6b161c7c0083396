"""Networks: heads on cached features, and whole timm models on images.

Shape legend    N images    D features    K classes    (3, H, W) an image, uint8
"""

from typing import Any

import torch
from torch import Tensor, nn


class LinearHead(nn.Module):
    """The student on cached features (N, D) -> (N, K): one linear layer, like a timm model's own classifier.

    Features are multiplied by a constant, so that one learning rate suits every backbone. `folded` multiplies the
    weights by it instead.
    """

    scale: Tensor  # ()

    def __init__(self, features: int, classes: int, scale: float):
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale))
        self.classifier = nn.Linear(features, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the logits (N, K)."""
        logits: Tensor = self.classifier(x * self.scale)
        return logits

    def folded(self) -> tuple[Tensor, Tensor]:
        """Returns weight (K, D) and bias (K,) of the equivalent linear layer on unscaled features."""
        return self.classifier.weight.detach() * self.scale, self.classifier.bias.detach()


class MlpHead(nn.Module):
    """The teacher on cached features (N, D) -> (N, K): one hidden layer with ReLU."""

    scale: Tensor  # ()

    def __init__(self, features: int, hidden: int, classes: int, scale: float):
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale))
        self.layers = nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, classes))

    def forward(self, x: Tensor) -> Tensor:
        """Returns the logits (N, K)."""
        logits: Tensor = self.layers(x * self.scale)
        return logits


class ImageClassifier(nn.Module):
    """A timm model with its normalisation: takes images uint8 (N, 3, H, W), 0 to 255."""

    mean: Tensor  # (1, 3, 1, 1), of inputs from 0 to 1
    std: Tensor  # (1, 3, 1, 1)
    frozen_norms = False  # whether BatchNorm uses its running statistics in training too, without updating them

    def __init__(self, model: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]):
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> "ImageClassifier":
        """Sets training or evaluation mode."""
        super().train(mode)
        if self.frozen_norms:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Returns the logits (N, K)."""
        normal = (x.to(self.mean.dtype) / 255 - self.mean) / self.std
        logits: Tensor = self.model(normal.contiguous(memory_format=torch.channels_last))
        return logits


def to_channels_last(net: nn.Module) -> None:
    """Converts the network's convolutions to channels last, the memory format of their images, in place.

    Not for sharded weights, which must be contiguous.
    """
    layout: Any = {"memory_format": torch.channels_last}
    net.to(**layout)
