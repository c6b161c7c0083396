"""Power laws through measured accuracies."""

import numpy as np
import pytest

from gradebook.mpl.learning_curve import fit_curves

SIZES = (24, 40, 60, 80, 100)


@pytest.mark.parametrize("rate", [0.4, 0.8])
def test_the_law_behind_exact_points_is_extrapolated(rate):
    def law(n: float) -> float:
        return 0.9 - 2 * n**-rate

    curves = fit_curves(SIZES, [law(n) for n in SIZES], [0.002] * 5)
    later = curves.at(200)
    assert curves.mean(later) == pytest.approx(law(200), abs=0.01)
    low, high = curves.interval(later)
    assert low < law(200) < high


def test_the_interval_of_noisy_curves_holds_the_truth_as_often_as_it_says():
    random, held = np.random.default_rng(0), 0
    for _ in range(300):
        limit, rate, drop = random.uniform(0.8, 0.95), random.uniform(0.3, 0.8), random.uniform(0.5, 2)
        truth = [limit - drop * n**-rate for n in (*SIZES, 200)]
        curves = fit_curves(SIZES, [a + random.normal(0, 0.01) for a in truth[:-1]], [0.01] * 5)
        low, high = curves.interval(curves.at(200))
        held += low <= truth[-1] <= high
    assert held / 300 > 0.9


def test_curves_never_fall_and_never_pass_one():
    curves = fit_curves(SIZES, [0.9, 0.8, 0.95, 0.99, 1.0], [0.02] * 5)
    assert (curves.at(200) >= curves.at(100) - 1e-12).all() and (curves.at(1e9) <= 1 + 1e-12).all()
    assert curves.weight.sum() == pytest.approx(1)
