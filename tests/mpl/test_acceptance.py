"""Audits of pseudo-labels: the sample is fair, and the bound holds as often as it says."""

import itertools

import numpy as np
import pytest
from scipy.stats import binom

from gradebook.mpl import acceptance
from gradebook.mpl.acceptance import Answers


def test_every_image_is_drawn_with_the_same_probability():
    strata, random = np.array([0] * 7 + [1] * 3 + [2]), np.random.default_rng(0)
    times = sum(acceptance.draw(strata, 0.3, random).astype(int) for _ in range(20_000))
    assert np.abs(times / 20_000 - 0.3).max() < 0.015  # more than four standard deviations
    counts = {int(acceptance.draw(strata, 0.3, random)[:7].sum()) for _ in range(200)}
    assert counts == {2, 3}


@pytest.mark.parametrize("share", [0.2, 0.45])
def test_the_tail_of_a_stratified_draw_is_at_most_the_binomial_one(share):
    """All draws of two small strata, with all places of the wrong images: an exact enumeration."""
    sizes = (5, 4)
    for wrong in itertools.product(range(sizes[0] + 1), range(sizes[1] + 1)):
        total = sum(wrong)
        distribution = np.array([1.0])
        for n, d in zip(sizes, wrong, strict=True):
            distribution = np.convolve(distribution, _drawn_wrong(n, d, share))
        tail = np.cumsum(distribution)
        for k in range(total + 1):
            bound = binom.cdf(k, total, share)
            if bound <= 0.5:
                assert tail[k] <= bound + 1e-12


def _drawn_wrong(n: int, d: int, share: float) -> np.ndarray:
    from scipy.stats import hypergeom

    low, fraction = int(share * n), share * n - int(share * n)
    k = np.arange(d + 1)
    return (1 - fraction) * hypergeom.pmf(k, n, d, low) + fraction * hypergeom.pmf(k, n, d, min(low + 1, n))


@pytest.mark.parametrize("rate", [0.021, 0.03, 0.05])
def test_a_set_with_too_many_wrong_ones_is_accepted_no_more_often_than_the_level(rate):
    size, share, target, level, random = 600, 0.25, 0.02, 0.05, np.random.default_rng(1)
    broken, draws = 0, 2_000
    for _ in range(draws):
        wrong = np.zeros(size, bool)
        wrong[random.permutation(size)[: int(rate * size)]] = True
        drawn = acceptance.draw(acceptance.strata(np.arange(size) % 4, size), share, random)
        answers = [Answers(audited=int(drawn[:n].sum()), wrong=int(wrong[:n][drawn[:n]].sum())) for n in _bands(size)]
        band = acceptance.accepted_band(size, share, target, level, answers)
        if band is not None:
            n = _bands(size)[band]
            broken += wrong[:n][~drawn[:n]].mean() > target
    assert broken / draws <= level


def _bands(size: int) -> list[int]:
    return acceptance.band_sizes(size)


def test_labels_given_meanwhile_do_not_loosen_the_bound():
    """A reviewer who labels the right ones leaves the wrong ones: the limit is about what is left."""
    base = acceptance.p_value(600, 0.3, 0.02, Answers(audited=180, wrong=0))
    fewer = acceptance.p_value(600, 0.3, 0.02, Answers(audited=180, wrong=0, others=300))
    found = acceptance.p_value(600, 0.3, 0.02, Answers(audited=180, wrong=0, others=300, others_wrong=5))
    assert fewer > base and found < fewer


def test_the_limit_and_the_test_agree():
    answers = Answers(audited=150, wrong=1)
    limit = acceptance.upper_limit(1_000, 0.15, answers, 0.05)
    assert acceptance.p_value(1_000, 0.15, limit, answers) <= 0.05
    assert acceptance.p_value(1_000, 0.15, limit - 0.002, answers) > 0.05


def test_a_plan_takes_the_confident_images_and_leaves_the_doubtful_ones():
    probabilities = np.concatenate([np.full(1_500, 0.999), np.full(500, 0.6)])
    plan = acceptance.plan(probabilities, 0.02, 0.05)
    assert plan is not None and plan.size == 1_500
    assert 120 < plan.share * plan.size < 300
    assert acceptance.plan(probabilities[1_500:], 0.02, 0.05) is None
    assert acceptance.plan(probabilities[:60], 0.02, 0.05) is None, "so few are labelled faster than audited"


def test_the_levels_of_audits_in_a_row_sum_to_the_whole():
    levels = [acceptance.attempt_level(0.95, n) for n in range(1, 30)]
    assert levels[0] == pytest.approx(0.04) and sum(levels) == pytest.approx(0.05)
