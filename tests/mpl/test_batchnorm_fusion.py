"""Norms taken into convolutions: the same features, and nothing fuse_batchnorm that must not be."""

import pytest
import timm
import torch
from torch import nn

from gradebook.mpl import wide_resnet  # noqa: F401 its networks come into timm's registry
from gradebook.mpl.batchnorm_fusion import NORMS, fuse_batchnorm

X = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def with_statistics(net: nn.Module) -> nn.Module:
    """Gives every norm statistics and weights as if it had been trained."""
    generator = torch.Generator().manual_seed(1)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value, low, high in ((module.weight, 0.5, 1.5), (module.bias, -1, 1), (module.running_var, 0.5, 2)):
                if value is not None:
                    nn.init.uniform_(value, low, high, generator=generator)
            if module.running_mean is not None:
                nn.init.uniform_(module.running_mean, -1, 1, generator=generator)
    return net.eval()


def norms(net: nn.Module) -> int:
    return sum(type(module) in NORMS for module in net.modules())


@pytest.mark.parametrize(
    ("name", "left"),
    [("tf_efficientnet_lite0", 0), ("resnet18", 0), ("mobilenetv3_small_050", 0), ("wrn_10_1", 4), ("regnetx_002", 0)],
)
def test_fusion_keeps_features_and_removes_norms(name, left):
    net = with_statistics(timm.create_model(name, num_classes=0))
    there = norms(net)
    quick = fuse_batchnorm(net)
    assert norms(quick) == left < there == norms(net)
    with torch.no_grad():
        assert torch.allclose(quick(X), net(X), rtol=1e-3, atol=1e-4 * float(net(X).abs().max()))


class Twice(nn.Module):
    """Uses a convolution twice, once without its norm."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.norm(self.conv(x)) + self.conv(x)


class Read(nn.Module):
    """A norm whose convolution's output is also used elsewhere."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        raw = self.conv(x)
        return self.norm(raw) + raw


class Asks(nn.Module):
    """Cannot be traced: what it does hangs on the values."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.norm(self.conv(x)) if x.sum() > 0 else x


class Standardised(nn.Conv2d):
    """Does not use its weight as it is."""

    def forward(self, x):
        return nn.functional.conv2d(x, self.weight / self.weight.std())


def test_norms_that_cannot_be_fused_stay():
    standardised = nn.Sequential(Standardised(3, 3, 1, bias=False), nn.BatchNorm2d(3))
    batch_alone = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False))
    for net in (Twice(), Read(), Asks(), standardised, batch_alone):
        with_statistics(net)
        quick = fuse_batchnorm(net)
        assert norms(quick) == 1
        with torch.no_grad():
            assert torch.equal(quick(X), net(X))


def test_fusion_does_not_change_the_original_network():
    net = with_statistics(timm.create_model("resnet18", num_classes=0)).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    fuse_batchnorm(net)
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
