"""A pass that keeps less for its backward pass: the same numbers, bit for bit."""

import timm
import torch
from torch.autograd.graph import saved_tensors_hooks

from mpl import wide_resnet  # noqa: F401 its networks come into timm's registry
from mpl.accumulation import accumulate
from mpl.sharding import blocks, recompute, sparing

X = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def made() -> torch.nn.Module:
    torch.manual_seed(0)
    net: torch.nn.Module = timm.create_model("wrn_10_1", num_classes=4, drop_rate=0.5).train()
    return net


def kept_by(net: torch.nn.Module, *, spared: bool) -> tuple[torch.Tensor, int]:
    """Returns the logits, drawn with one seed, and the numbers that the pass keeps outside its blocks."""
    kept = 0

    def count(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += tensor.numel()
        return tensor

    torch.manual_seed(1)
    with saved_tensors_hooks(count, lambda tensor: tensor):
        if not spared:
            return net(X), kept
        with sparing(net):
            return net(X), kept


def test_the_gradient_and_the_statistics_are_the_same_and_less_is_kept():
    plain, spared = made(), made()
    said, kept = kept_by(plain, spared=False)
    again, less = kept_by(spared, spared=True)
    assert torch.equal(said, again)
    for logits in (said, again):
        logits.square().sum().backward()
    for one, other in zip(plain.parameters(), spared.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)
    for one, other in zip(plain.buffers(), spared.buffers(), strict=True):
        assert torch.equal(one, other)
    assert less < 0.75 * kept
    assert all("forward" not in vars(block) for block in blocks(spared)), "the blocks are as they were"


def test_a_network_that_recomputes_already_is_left_alone():
    for change in (recompute, lambda net: accumulate(net, 2)):
        net = made()
        change(net)
        before = [vars(module).get("forward") for module in net.modules()]
        with sparing(net):
            assert [vars(module).get("forward") for module in net.modules()] == before
        assert [vars(module).get("forward") for module in net.modules()] == before
