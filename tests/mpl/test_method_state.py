"""What methods remember, by hand and against loops."""

import pytest
import torch

from gradebook.mpl import losses, method_state, mixup
from gradebook.mpl.schedules import slow_ramp
from gradebook.mpl.step import SingleProcess, StepIndex, mean_over_processes
from tests.mpl.toy_problems import Pair


def test_mean_by_sample_by_hand():
    """Sample 2 comes twice, with (1, 0) and (0, 1); sample 0 once; sample 1 never."""
    rows = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]], dtype=torch.float64, requires_grad=True)
    mean, seen = method_state.mean_by_sample(rows, torch.tensor([2, 0, 2]), 3, SingleProcess())
    assert mean.tolist() == [[0.5, 0.5], [0.0, 0.0], [0.5, 0.5]]
    assert seen.tolist() == [True, False, True]
    assert not mean.requires_grad


def test_a_sample_gets_a_label_if_all_its_predictions_agree():
    labels = torch.tensor([2, 2, 0, 1, 1, 0, 2])
    positions = torch.tensor([0, 0, 1, 1, 2, 3, 5])
    has_label = torch.tensor([True, True, True, True, True, False, True])
    got = method_state.agreed_by_sample(labels, has_label, positions, 6, SingleProcess())
    assert got.tolist() == [2, -1, 1, -1, -1, 2], "0 twice the same, 1 contradicts, 3 does not count, 4 is not there"


def test_labels_whose_mean_is_a_label_do_not_agree():
    """Classes 0 and 2 average to 1, which was never predicted."""
    got = method_state.agreed_by_sample(
        torch.tensor([0, 2]), torch.ones(2).bool(), torch.tensor([0, 0]), 1, SingleProcess()
    )
    assert got.tolist() == [-1]


def test_running_mean_by_hand():
    memory = {}
    start = torch.tensor(0.5)
    assert method_state.running_mean(memory, "m", torch.tensor(1.0), 0.9, start).item() == pytest.approx(0.55)
    assert method_state.running_mean(memory, "m", torch.tensor(1.0), 0.9, start).item() == pytest.approx(0.595)
    assert memory["m"].item() == pytest.approx(0.595)


def test_gradient_of_a_function_of_the_mean_over_processes():
    """Two processes hold 1 and 3, f(m) = m² at m = 2: the mean of their slopes is that of one with both, 4 · 2 = 8."""
    pair, slopes = Pair(), [None, None]

    def work(rank):
        w = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
        mean = mean_over_processes(w * (1.0 + 2 * rank), pair)
        assert mean.item() == 2.0
        (slopes[rank],) = torch.autograd.grad(mean**2, w)

    pair.run(work)
    assert sum(slopes).item() / 2 == pytest.approx(8.0)
    assert slopes[0] != slopes[1]


def test_mixed_rows_by_hand():
    one, other = torch.ones(2, 1, 1, 2), torch.zeros(2, 1, 1, 2)
    assert mixup.mixed(one, other, torch.tensor([0.25, 1.0])).flatten().tolist() == [0.25, 0.25, 1.0, 1.0]
    assert mixup.floating(torch.tensor([200], dtype=torch.uint8)).tolist() == [200.0]


def test_shares_are_spread_as_the_beta_distribution_is():
    """Beta(α, α) has mean 1/2 and variance 1 / (4 (2α + 1))."""
    torch.manual_seed(0)
    drawn = mixup.shares(20_000, 0.75, torch.zeros(1, dtype=torch.float64))
    assert drawn.mean().item() == pytest.approx(0.5, abs=0.01)
    assert drawn.var().item() == pytest.approx(1 / 10, abs=0.005)


def test_squares_and_divergence_by_hand():
    """Logits (0, log 3) are (1/4, 3/4). Against (1/2, 1/2): squares 1/16 each; KL(1/2 ‖ ·) = log(4/3)/2."""
    log3 = torch.tensor(3.0, dtype=torch.float64).log()
    logits = torch.stack([torch.zeros_like(log3), log3])[None].requires_grad_()
    half = torch.full((1, 2), 0.5, dtype=torch.float64, requires_grad=True)
    assert losses.squared(logits, half).item() == pytest.approx(1 / 16)
    kl = losses.divergence(logits, half.log())
    assert kl.item() == pytest.approx(torch.tensor(4 / 3).log().item() / 2)
    kl.sum().backward()
    torch.testing.assert_close(logits.grad[0], torch.tensor([-0.25, 0.25], dtype=torch.float64))
    assert half.grad is None, "targets are constants"


def test_sharpened_distributions_by_hand():
    """(1/4, 3/4) at temperature 1/2 is (1/10, 9/10)."""
    q = torch.tensor([[0.25, 0.75]], dtype=torch.float64)
    torch.testing.assert_close(losses.sharpen(q, 0.5), torch.tensor([[0.1, 0.9]], dtype=torch.float64))
    torch.testing.assert_close(losses.as_logits(q).softmax(-1), q)


def test_slow_ramp_by_hand():
    """Half of the way up it is exp(-5/4); at the end 1."""
    assert slow_ramp(StepIndex(1, 10), 0.4) == pytest.approx(0.2865048)
    assert slow_ramp(StepIndex(3, 10), 0.4) == slow_ramp(StepIndex(9, 10), 0.4) == 1.0
