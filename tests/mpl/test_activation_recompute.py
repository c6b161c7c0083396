"""Passes that keep less for their backward pass: the same numbers, bit for bit."""

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
NETWORKS = {  # what is kept at most, as a share of the plain pass
    "wrn_10_1": 0.65,
    "resnet18": 0.85,  # sums in place, of which nothing is known
    "tf_efficientnet_lite0": 0.7,  # sums of norms
    "mobilenetv3_small_050": 0.95,  # units that keep a copy of what they change in place
}


def made(name: str = "wrn_10_1") -> nn.Module:
    torch.manual_seed(0)
    net: nn.Module = timm.create_model(name, num_classes=4, drop_rate=0.5).train()
    return net


def passed(net: nn.Module, context=None) -> tuple[torch.Tensor, int]:
    """Returns the logits, drawn with one seed, and the bytes that the pass keeps."""
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
def test_the_gradient_and_the_statistics_are_the_same_and_less_is_kept(name, training, kind):
    plain, spared = made(name).train(training), made(name).train(training)
    convolutions = ConvolutionCache() if kind == "convolutions" else None
    said, kept = passed(plain)
    again, less = passed(
        spared, recompute_activations(spared, convolutions, recompute_first_blocks=kind == "first blocks")
    )
    assert torch.equal(said, again)
    for logits in (said, again):
        logits.square().sum().backward()
    assert_same(plain, spared)
    if kind == "plain":
        assert less < NETWORKS[name] * kept
    assert all("forward" not in vars(block) for block in blocks(spared)), "the blocks are as they were"


def test_kept_convolutions_of_a_residual_network_cost_little():
    """Its sums are computed of them, so that they take the place of what would be kept."""
    nets = [made() for _ in range(3)]
    _, plain = passed(nets[0])
    _, spared = passed(nets[1], recompute_activations(nets[1]))
    _, convolutions = passed(nets[2], recompute_activations(nets[2], ConvolutionCache()))
    assert spared < convolutions < 0.5 * (spared + plain)


def test_the_first_blocks_keep_their_inputs_alone():
    nets = [made("resnet18") for _ in range(2)]
    _, spared = passed(nets[0], recompute_activations(nets[0]))
    _, less = passed(nets[1], recompute_activations(nets[1], recompute_first_blocks=True))
    assert less < 0.85 * spared


def test_what_is_not_kept_is_gone():
    """The graph is alive, and nothing but what it keeps: not what the units returned, nor, later, what it has used."""
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
    assert gone == [False, True, True], "a backward pass lets go of a map when it has used it"


def test_a_graph_can_be_gone_through_twice():
    net = made()
    with recompute_activations(net):
        logits = net(X)
    logits.sum().backward(retain_graph=True)
    once = [p.grad.clone() for p in net.parameters()]
    logits.sum().backward()
    for grad, p in zip(once, net.parameters(), strict=True):
        torch.testing.assert_close(2 * grad, p.grad, rtol=0, atol=0)


def test_a_map_that_was_changed_since_is_no_source():
    """Autograd forbids it of what it keeps; what is computed again must not be silently something else."""

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


def test_a_network_that_recomputes_already_is_left_alone():
    for change in (recompute, lambda net: accumulate(net, 2)):
        net, convolutions = made(), ConvolutionCache()
        change(net)
        before = [vars(module).get("forward") for module in net.modules()]
        with recompute_activations(net, convolutions, recompute_first_blocks=True):
            assert [vars(module).get("forward") for module in net.modules()] == before
            net(X)
        assert [vars(module).get("forward") for module in net.modules()] == before
        assert not convolutions
