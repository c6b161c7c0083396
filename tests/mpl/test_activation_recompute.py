"""Recomputed activations: less memory, and the same numbers bit for bit."""

from contextlib import nullcontext

import pytest
import timm
import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef

from gradebook.mpl import wide_resnet  # noqa: F401 its networks come into timm's registry
from gradebook.mpl.accumulation import accumulate
from gradebook.mpl.activation_recompute import recompute_activations
from gradebook.mpl.forward_mode import ConvolutionCache
from gradebook.mpl.sharding import blocks, recompute
from gradebook.mpl.step_timer import StepTimer, saved_bytes

X = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
NETWORKS = {  # saved bytes at most, as a share of the plain pass
    "wrn_10_1": 0.65,
    "resnet18": 0.85,  # sums in place, which are not recomputed
    "tf_efficientnet_lite0": 0.7,  # sums of norms
    "mobilenetv3_small_050": 0.95,  # activations that save a copy of what they change in place
}


def made(name: str = "wrn_10_1") -> nn.Module:
    torch.manual_seed(0)
    net: nn.Module = timm.create_model(name, num_classes=4, drop_rate=0.5).train()
    return net


def passed(net: nn.Module, context=None) -> tuple[torch.Tensor, int]:
    """Returns the logits, with a fixed seed, and the bytes that the pass saves."""
    torch.manual_seed(1)
    with saved_bytes(StepTimer(torch.device("cpu"))) as kept, context or nullcontext():
        logits = net(X)
    return logits, kept.total()


def assert_same(one: nn.Module, other: nn.Module) -> None:
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)
    for a, b in zip(one.buffers(), other.buffers(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", ["plain", "convolutions", "first blocks"])
def test_gradients_and_statistics_are_the_same_and_fewer_bytes_are_saved(name, training, kind):
    plain, recomputing = made(name).train(training), made(name).train(training)
    convolutions = ConvolutionCache() if kind == "convolutions" else None
    expected, saved = passed(plain)
    again, less = passed(
        recomputing, recompute_activations(recomputing, convolutions, recompute_first_blocks=kind == "first blocks")
    )
    assert torch.equal(expected, again)
    for out in (expected, again):
        out.square().sum().backward()
    assert_same(plain, recomputing)
    if kind == "plain":
        assert less < NETWORKS[name] * saved
    assert all("forward" not in vars(block) for block in blocks(recomputing)), "the blocks are as they were"


def test_caching_convolutions_of_a_residual_network_costs_little():
    """Its sums are recomputed from them, so that they replace other saved maps."""
    nets = [made() for _ in range(3)]
    _, plain = passed(nets[0])
    _, recomputing = passed(nets[1], recompute_activations(nets[1]))
    _, convolutions = passed(nets[2], recompute_activations(nets[2], ConvolutionCache()))
    assert recomputing < convolutions < 0.5 * (recomputing + plain)


def test_the_first_blocks_save_only_their_inputs():
    nets = [made("resnet18") for _ in range(2)]
    _, recomputing = passed(nets[0], recompute_activations(nets[0]))
    _, less = passed(nets[1], recompute_activations(nets[1], recompute_first_blocks=True))
    assert less < 0.85 * recomputing


def test_maps_that_are_not_saved_are_freed():
    """While the graph is alive, activation outputs are freed at once, and saved maps after their use."""
    net, returned, taken, gone = made(), [], [], []

    def watch(out: torch.Tensor) -> None:
        out.register_hook(lambda _: gone.extend(ref.expired() for ref in taken))

    for block in blocks(net):
        block.unit.register_forward_hook(lambda m, given, out: returned.append(StorageWeakRef(out.untyped_storage())))
        block.norm_2.register_forward_hook(
            lambda m, given, out: taken.append(StorageWeakRef(given[0].untyped_storage()))
        )
    blocks(net)[0].register_forward_hook(lambda m, given, out: watch(out))
    plain = net(X)
    assert not any(ref.expired() for ref in returned)
    del plain
    returned.clear()
    taken.clear()
    with recompute_activations(net):
        logits = net(X)
    assert all(ref.expired() for ref in returned)
    assert not any(ref.expired() for ref in taken)
    logits.sum().backward()
    assert gone == [False, True, True], "the backward pass frees a map after its use"


def test_two_backward_passes_through_a_graph_are_possible():
    net = made()
    with recompute_activations(net):
        logits = net(X)
    logits.sum().backward(retain_graph=True)
    once = [p.grad.clone() for p in net.parameters()]
    logits.sum().backward()
    for grad, p in zip(once, net.parameters(), strict=True):
        torch.testing.assert_close(2 * grad, p.grad, rtol=0, atol=0)


def test_recomputing_from_a_map_that_was_changed_in_place_is_an_error():
    """Autograd forbids it for saved maps; recomputation must not silently give other numbers."""

    class Careless(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x):
            map_ = self.conv(x)
            out = self.norm(map_)
            map_.add_(1)
            return (out * out).sum()

    net = Careless()
    with recompute_activations(net):
        loss = net(X)
    with pytest.raises((AssertionError, RuntimeError), match=r"changed in place|modified by an inplace"):
        loss.backward()


def test_a_network_that_recomputes_already_is_unchanged():
    for change in (recompute, lambda net: accumulate(net, 2)):
        net, convolutions = made(), ConvolutionCache()
        change(net)
        before = [vars(module).get("forward") for module in net.modules()]
        with recompute_activations(net, convolutions, recompute_first_blocks=True):
            assert [vars(module).get("forward") for module in net.modules()] == before
            net(X)
        assert [vars(module).get("forward") for module in net.modules()] == before
        assert not convolutions
