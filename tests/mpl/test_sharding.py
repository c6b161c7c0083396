"""A step with shared-out weights is the step with whole ones (float64, gloo on a CPU)."""

import pytest
import torch
from torch import nn

from gradebook.mpl import sharding
from gradebook.mpl.step import SingleProcess
from tests.mpl import shards

pytestmark = pytest.mark.slow

KINDS = {"one node": (2, 1), "two nodes": (4, 2)}
EXACT = {"rtol": 0, "atol": 1e-12}


@pytest.fixture(scope="module", params=KINDS)
def found(request, tmp_path_factory) -> list[dict]:
    """What each process found: two that share the weights, or two pairs that do."""
    return shards.start(*KINDS[request.param], tmp_path_factory.mktemp("shards"))


@pytest.mark.parametrize("case", shards.CASES)
def test_the_sharded_step_is_the_plain_step_of_as_many_processes(found, case):
    """BatchNorm normalises with each process's own images in both."""
    for process in found:
        sharded, plain = process[case]["sharded"], process[case]["plain"]
        torch.testing.assert_close(sharded["weights"], plain["weights"], **EXACT)
        torch.testing.assert_close(sharded["feedback"], plain["feedback"], rtol=0, atol=1e-9)
        for ours, theirs in zip(sharded["scalars"], plain["scalars"], strict=True):
            assert ours == pytest.approx(theirs, rel=0, abs=1e-9)
        assert sharded["finite"]


@pytest.mark.parametrize("case", ["difference", "recomputed"])
def test_the_sharded_step_is_the_step_of_one_process_with_the_whole_batch(found, case):
    made = shards.learners(shards.CASES[case]["block"])
    start = {n: v.clone() for n, v in made.student.net.state_dict().items()}
    alone = shards.outcome(made, shards.steps(made, SingleProcess(), shards.CASES[case]["settings"]))
    for process in found:
        torch.testing.assert_close(process[case]["sharded"]["weights"], alone["weights"], **EXACT)
    for at, matrix in enumerate(alone["feedback"]):
        parts = [process[case]["sharded"]["feedback"][at] for process in found]
        torch.testing.assert_close(torch.cat(parts), matrix, rtol=0, atol=1e-9)
        assert matrix.abs().max() > 1e-4
        loss = [process[case]["sharded"]["scalars"][at]["student_loss"] for process in found]
        assert sum(loss) / len(loss) == pytest.approx(alone["scalars"][at]["student_loss"], abs=1e-12)
    moved = [(v - start[n]).abs().max() for n, v in alone["weights"]["student"].items()]
    assert max(moved) > 1e-2, "nothing moved: the test would be vacuous"


def test_a_process_holds_a_share_of_the_weights(found):
    devices = 2  # that share them in both kinds
    weights = sum(p.numel() for p in shards.blocky(shards.plain_block).parameters())
    held = [process["difference"]["held"] for process in found]
    assert sum(held[:devices]) == weights and max(held) < 0.7 * weights


def test_blocks_are_the_modules_of_a_sequence():
    net = shards.blocky(shards.norm_block)
    assert sharding.blocks(net) == list(net[1])
    assert sharding.blocks(nn.Sequential(nn.Linear(2, 2), nn.Tanh())) == []
    staged = nn.Sequential(nn.Sequential(shards.plain_block(), shards.plain_block()), nn.Sequential(nn.Linear(6, 6)))
    assert sharding.blocks(staged) == list(staged[0])


def test_recomputing_changes_neither_gradient_nor_statistics():
    torch.manual_seed(0)
    net = shards.blocky(shards.norm_block).double()
    x = torch.randn(8, shards.D, dtype=torch.float64)
    found = []
    for recompute in (False, True):
        state = {n: v.clone() for n, v in net.state_dict().items()}
        if recompute:
            sharding.recompute(net)
        torch.manual_seed(3)
        net.zero_grad()
        net(x).square().mean().backward()
        found.append([*(p.grad.clone() for p in net.parameters()), *(b.clone() for b in net.buffers())])
        net.load_state_dict(state)
    torch.testing.assert_close(*found, rtol=0, atol=0)


def test_recomputing_saves_fewer_bytes():
    """Of a block, its input alone: of two blocks of a linear layer, BatchNorm, dropout and tanh."""
    torch.manual_seed(0)
    net = shards.blocky(shards.norm_block).double()
    x = torch.randn(64, shards.D, dtype=torch.float64)
    kept = []
    for recompute in (False, True):
        if recompute:
            sharding.recompute(net)
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, sizes=sizes: sizes.append(t.numel()) or t, lambda t: t):
            net(x)
        kept.append(sum(sizes))
    assert kept[1] < 0.5 * kept[0]


def test_norms_of_plain_tensors_are_norms():
    parts = [torch.tensor([3.0]), torch.tensor([[0.0, 4.0]])]
    assert float(sharding.norm(parts)) == pytest.approx(5.0)
    assert sharding.local(parts[0]) is parts[0]
