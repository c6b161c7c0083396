"""The fast derivative of BatchNorm equals torch's for every kind of layer."""

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode

from gradebook.mpl.activation_recompute import recompute_activations
from gradebook.mpl.forward_mode import ConvolutionCache, FastForwardMode


def slope(net, x, dx, direction):
    """d net(x) along dx and along a direction of the weights, and what the buffers are afterwards."""
    buffers = {n: b.clone() for n, b in net.named_buffers()}
    with torch.no_grad(), forward_ad.dual_level():
        weights = {n: forward_ad.make_dual(p.detach(), direction[n]) for n, p in net.named_parameters()}
        entered = x if dx is None else forward_ad.make_dual(x, dx)
        out = functional_call(net, {**weights, **buffers}, (entered,))
        return *forward_ad.unpack_dual(out), buffers


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("moves", ["input", "weights", "both"])
@pytest.mark.parametrize("training", [True, False])
def test_fast_norms_have_the_derivative_of_torch(affine, moves, training):
    if not affine and moves == "weights":
        return
    torch.manual_seed(0)
    net = nn.Sequential(nn.BatchNorm2d(3, affine=affine), nn.LeakyReLU(0.1, inplace=True)).double().train(training)
    x, dx = (torch.randn(4, 3, 5, 5, dtype=torch.float64).mul_(2).add_(1) for _ in range(2))
    direction = {n: torch.randn_like(p) if moves != "input" else torch.zeros_like(p) for n, p in net.named_parameters()}
    dx = None if moves == "weights" else dx

    value, tangent, buffers = slope(net, x, dx, direction)
    with FastForwardMode():
        quick_value, quick_tangent, quick_buffers = slope(net, x, dx, direction)

    torch.testing.assert_close(quick_value, value, rtol=0, atol=1e-12)
    torch.testing.assert_close(quick_tangent, tangent, rtol=0, atol=1e-12)
    assert tangent.abs().max() > 0.1
    for name, kept in buffers.items():
        torch.testing.assert_close(quick_buffers[name], kept, rtol=0, atol=1e-12)


@pytest.mark.parametrize("training", [True, False])
def test_in_half_precision_a_convolution_takes_what_a_norm_gives(training):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3)).train(training)
    x = torch.randn(8, 3, 8, 8)
    direction = {n: torch.randn_like(p) for n, p in net.named_parameters()}

    _, tangent, _ = slope(net, x, None, direction)
    with FastForwardMode(), torch.autocast("cpu", torch.bfloat16):
        _, half, _ = slope(net, x, None, direction)

    assert half.dtype == torch.bfloat16
    assert torch.cosine_similarity(half.float().flatten(), tangent.flatten(), 0) > 0.99


class Named(nn.Conv2d):
    """Names its arguments, as some of timm's layers do."""

    def forward(self, x):
        return nn.functional.conv2d(x, self.weight, bias=self.bias, stride=self.stride)


CONVOLUTIONS = {
    "plain": nn.Conv2d(4, 6, 3),
    "strided": nn.Conv2d(4, 6, 3, stride=2, padding=1),
    "same": nn.Conv2d(4, 6, 3, padding="same", bias=False),
    "depthwise": nn.Conv2d(4, 4, 3, groups=4, dilation=2),
    "named": Named(4, 6, 3, stride=2),
}


def counted(net, x, direction, convolutions):
    """The value and the tangent, and how many convolutions they took."""
    calls = []

    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            calls.append("convolution" in str(func))
            return func(*args, **(kwargs or {}))

    with Count(), FastForwardMode(convolutions):
        value, tangent, _ = slope(net, x, None, direction)
    return value, tangent, sum(calls)


def convolved(net, x):
    """How many convolutions value and tangent take, without and with those of a pass before; the same numbers."""
    direction = {n: torch.randn_like(p) for n, p in net.named_parameters()}
    value, tangent, all_of_them = counted(net, x, direction, None)
    convolutions = ConvolutionCache()
    with recompute_activations(net, convolutions):
        net(x)
    quick_value, quick_tangent, fewer = counted(net, x, direction, convolutions)

    assert torch.equal(quick_value, value)
    torch.testing.assert_close(quick_tangent, tangent, rtol=0, atol=1e-12)
    assert tangent.abs().max() > 0.1
    assert not convolutions, "each was let go of"
    return all_of_them, fewer


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_cached_convolutions_are_not_computed_again(kind):
    """A convolution takes three with torch alone, a cached one two; the first, whose input has no tangent, one."""
    torch.manual_seed(0)
    norms = [nn.BatchNorm2d(4), nn.LeakyReLU(0.1, inplace=True)]
    net = nn.Sequential(nn.Conv2d(3, 4, 3), *norms, nn.Conv2d(4, 4, 1, bias=False), *norms, CONVOLUTIONS[kind]).double()
    x = torch.randn(4, 3, 9, 9, dtype=torch.float64)
    assert convolved(net, x) == (3 + 3 + 3, 1 + 2 + 2)


def test_a_convolution_that_was_changed_in_place_is_computed_again():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3)).double()
    x = torch.randn(4, 3, 9, 9, dtype=torch.float64)
    assert convolved(net, x) == (3 + 3, 3 + 2)
