"""Wide residual networks for small images (Zagoruyko and Komodakis, 2016, https://arxiv.org/abs/1605.07146).

Shape legend    N images    K classes    (3, H, W) an image    D features

`wrn_28_2` is the network of the CIFAR-10 and SVHN experiments of semi-supervised learning (Oliver et al., 2018,
https://arxiv.org/abs/1804.09170), with leaky ReLUs as there; the others are smaller. A depth of 6n + 4 has n blocks in
each of three groups. All are registered in timm, so they can be used like any timm model.
"""

from typing import Any

import torch
from timm.models import register_model
from torch import Tensor, nn

SLOPE = 0.1  # negative slope of the leaky ReLUs
STEM = 16  # channels of the first convolution


class Block(nn.Module):
    """A residual block of two 3x3 convolutions, each after BatchNorm and a leaky ReLU (pre-activation)."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.norm_1, self.norm_2 = _norm(inputs), _norm(outputs)
        self.conv_1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv_2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.unit = nn.LeakyReLU(SLOPE, inplace=True)  # nothing else uses the output of BatchNorm
        self.shortcut = None if inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to (N, C', H / stride, W / stride)."""
        active = self.unit(self.norm_1(x))
        out = self.conv_2(self.unit(self.norm_2(self.conv_1(active))))
        shortcut = x if self.shortcut is None else self.shortcut(active)
        total: Tensor = shortcut + out
        return total


class WideResNet(nn.Module):
    """A wide residual network with timm's interface; with `num_classes=0` it returns features."""

    def __init__(self, depth: int, width: int, *, num_classes: int = 10, drop_rate: float = 0.0):
        super().__init__()
        assert (depth - 4) % 6 == 0, "a wide residual network has 6n + 4 layers"
        channels = [STEM, *(STEM * width * 2**group for group in range(3))]
        blocks: list[nn.Module] = []
        for group in range(3):
            for number in range((depth - 4) // 6):
                first = number == 0
                inputs = channels[group] if first else channels[group + 1]
                blocks.append(Block(inputs, channels[group + 1], stride=2 if first and group > 0 else 1))
        self.stem = nn.Conv2d(3, STEM, 3, 1, 1, bias=False)
        self.blocks = nn.Sequential(*blocks)
        self.norm = _norm(channels[-1])
        self.unit = nn.LeakyReLU(SLOPE, inplace=True)
        self.drop = nn.Dropout(drop_rate)
        self.num_features = channels[-1]  # D
        self.pretrained_cfg: dict[str, Any] = {
            "architecture": f"wrn_{depth}_{width}",
            "input_size": (3, 32, 32),
            "mean": (0.4914, 0.4822, 0.4465),
            "std": (0.2471, 0.2435, 0.2616),
            "classifier": "classifier",
        }
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=SLOPE, mode="fan_out", nonlinearity="leaky_relu")
        self.reset_classifier(num_classes)

    @property
    def default_cfg(self) -> dict[str, Any]:
        """Timm's other name for `pretrained_cfg`."""
        return self.pretrained_cfg

    def reset_classifier(self, num_classes: int) -> None:
        """Replaces the classifier by a new one for `num_classes` classes; 0 for none."""
        self.num_classes = num_classes
        self.classifier: nn.Module = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()
        if isinstance(self.classifier, nn.Linear):
            nn.init.xavier_normal_(self.classifier.weight)
            nn.init.zeros_(self.classifier.bias)

    def get_classifier(self) -> nn.Module:
        """Returns the classifier."""
        return self.classifier

    def forward(self, x: Tensor) -> Tensor:
        """Returns the logits (N, K) of normalised images (N, 3, H, W), or features (N, D) without classes."""
        maps = self.unit(self.norm(self.blocks(self.stem(x))))
        logits: Tensor = self.classifier(self.drop(torch.mean(maps, (2, 3))))
        return logits


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels)


def _create(depth: int, width: int, pretrained: bool, kwargs: dict[str, Any]) -> WideResNet:
    """Creates a network from the arguments of `timm.create_model`; those for pretrained weights are ignored."""
    assert not pretrained, "these networks have no pretrained weights for timm"
    known = {name: kwargs[name] for name in ("num_classes", "drop_rate") if kwargs.get(name) is not None}
    return WideResNet(depth, width, **known)


@register_model
def wrn_28_2(pretrained: bool = False, **kwargs: Any) -> WideResNet:
    """WRN-28-2: 1.5 million parameters."""
    return _create(28, 2, pretrained, kwargs)


@register_model
def wrn_16_2(pretrained: bool = False, **kwargs: Any) -> WideResNet:
    """WRN-16-2: 0.7 million parameters."""
    return _create(16, 2, pretrained, kwargs)


@register_model
def wrn_10_2(pretrained: bool = False, **kwargs: Any) -> WideResNet:
    """WRN-10-2: 0.3 million parameters."""
    return _create(10, 2, pretrained, kwargs)


@register_model
def wrn_10_1(pretrained: bool = False, **kwargs: Any) -> WideResNet:
    """WRN-10-1: 0.08 million parameters."""
    return _create(10, 1, pretrained, kwargs)
