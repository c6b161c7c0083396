"""Losses and schedules against hand numbers."""

import itertools
import math

import pytest
import torch

from gradebook.mpl import losses
from gradebook.mpl.schedules import ramp, warmup_cosine
from gradebook.mpl.step import StepIndex

LOG3 = math.log(3.0)


def test_soft_cross_entropy_by_hand():
    """Logits (0, log 3) are the distribution (1/4, 3/4): -(1/2 log 1/4 + 1/2 log 3/4) = log 4 - log(3)/2."""
    logits = torch.tensor([[0.0, LOG3]], dtype=torch.float64)
    target = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    assert losses.soft_cross_entropy(logits, target).item() == pytest.approx(math.log(4) - LOG3 / 2)


def test_sharpening_by_hand():
    """At temperature 1/2, (1/4, 3/4) becomes (1/16, 9/16) rescaled: (1/10, 9/10)."""
    logits = torch.tensor([[0.0, LOG3]], dtype=torch.float64, requires_grad=True)
    sharp = losses.softmax_with_temperature(logits, 0.5)
    torch.testing.assert_close(sharp, torch.tensor([[0.1, 0.9]], dtype=torch.float64))
    assert not sharp.requires_grad


def test_uda_by_hand():
    """Two images, one below the threshold: its loss counts as zero in the mean over both.

    Weak (1/4, 3/4) is confident at 0.7 and teaches (0.1, 0.9); strong (1/2, 1/2) costs log 2 whatever its target.
    """
    weak = torch.tensor([[0.0, LOG3], [0.0, 0.1]], dtype=torch.float64, requires_grad=True)
    strong = torch.zeros(2, 2, dtype=torch.float64, requires_grad=True)
    loss, share = losses.uda(strong, weak, temperature=0.5, threshold=0.7)
    assert loss.item() == pytest.approx(math.log(2) / 2)
    assert share.item() == 0.5
    loss.backward()
    torch.testing.assert_close(strong.grad[0], torch.tensor([0.4, -0.4], dtype=torch.float64) / 2)
    assert weak.grad is None, "targets are constants"
    assert torch.equal(strong.grad[1], torch.zeros(2, dtype=torch.float64))


def test_entropy_is_largest_and_log_k_at_the_uniform_distribution():
    logits = torch.tensor([[1.0, 1.0, 1.0, 1.0], [50.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    assert losses.entropy(logits)[0].item() == pytest.approx(math.log(4))
    assert losses.entropy(logits)[1].item() == pytest.approx(0, abs=1e-9)


def test_schedule_waits_rises_and_falls():
    rates = [warmup_cosine(StepIndex(at, 100), wait=10, warmup=20) for at in range(100)]
    assert rates[:10] == [0.0] * 10
    assert rates[10] == pytest.approx(1 / 20)
    assert rates[29] == rates[30] == 1.0
    assert rates[65] == pytest.approx(0.5)
    assert 0 < rates[99] < 0.001
    assert all(a > b for a, b in itertools.pairwise(rates[30:]))


def test_ramp_is_whole_from_its_end_on():
    assert [ramp(StepIndex(at, 10), 0.4) for at in (0, 1, 3, 9)] == [0.25, 0.5, 1.0, 1.0]
    assert ramp(StepIndex(0, 10), 0.0) == 1.0


def test_targets_are_constants():
    """A target that took a gradient would teach the teacher to say what is easily learned."""
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    weights = torch.randn(4, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()
    target = weights.softmax(-1)
    for loss in (losses.soft_cross_entropy, losses.squared, losses.divergence):
        (logits_only,) = torch.autograd.grad(loss(logits, target).sum(), logits)
        assert logits_only.abs().max() > 1e-3
        total = loss(logits, target).sum() + 0 * weights.sum()
        assert torch.equal(torch.autograd.grad(total, weights)[0], torch.zeros(4, 3)), loss.__name__
    likely = weights[:, 0].sigmoid()
    total = losses.masked_cross_entropy(logits, torch.zeros(4, dtype=torch.int64), likely) + 0 * weights.sum()
    assert torch.equal(torch.autograd.grad(total, weights)[0], torch.zeros(4, 3))
