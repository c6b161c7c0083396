"""Lazy bounds choose what the exhaustive greedy algorithm chooses."""

import numpy as np
import pytest

from gradebook.mpl import facility_location as module
from gradebook.mpl.facility_location import Goals, choose, cover_by, gains, unit_directions


def heaps(n: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    centres = random.normal(size=(30, 12)).astype(np.float32)
    x = centres[random.integers(30, size=n)] + 0.4 * random.normal(size=(n, 12)).astype(np.float32)
    return unit_directions(x, x.mean(0))


def naive(x, goals: Goals, possible, b: int) -> list[int]:
    """Greedy choice that computes every gain at every step."""
    chosen: list[int] = []
    for _ in range(b):
        gain = gains(x, goals)
        gain[[k for k in range(len(x)) if k not in possible or k in chosen]] = -np.inf
        chosen.append(int(gain.argmax()))
        goals = cover_by(goals, x[chosen[-1:]])
    return chosen


@pytest.fixture
def case():
    x, random = heaps(600, 1), np.random.default_rng(2)
    at = np.sort(random.permutation(600)[:200])
    doubt = random.random(200).astype(np.float32)
    return x, cover_by(Goals(vectors=x[at], doubt=doubt, covered=np.zeros(200, np.float32)), heaps(20, 3))


@pytest.mark.parametrize("labels", [0, 40])
def test_lazy_bounds_choose_what_the_exhaustive_greedy_chooses(case, monkeypatch, labels):
    monkeypatch.setattr(module, "INITIAL_POOL", 32)
    monkeypatch.setattr(module, "GAINS_BATCH", 8)
    x, goals = case
    bounds, looked = gains(x, goals), []

    def look(places):
        looked.extend(places.tolist())
        return x[places]

    since = np.random.default_rng(4).permutation(600)[:labels]
    bounds[since] = -np.inf
    goals = cover_by(goals, x[since])
    assert choose(bounds, look, goals, 12).tolist() == naive(x, goals, set(range(600)) - set(since.tolist()), 12)
    assert len(set(looked)) == len(looked), "nobody is looked at twice"
    assert len(looked) < 300 or labels, "nor most at all"


def test_limited_memory_chooses_the_same(case, monkeypatch):
    monkeypatch.setattr(module, "MAX_CACHED_KERNELS", 4)
    x, goals = case
    assert choose(gains(x, goals), lambda places: x[places], goals, 9).tolist() == naive(x, goals, set(range(600)), 9)


def test_only_candidates_are_chosen_and_all_of_them_if_they_are_too_few(case):
    x, goals = case
    bounds = np.full(600, -np.inf)
    bounds[[3, 77, 401]] = gains(x[[3, 77, 401]], goals)
    assert sorted(choose(bounds, lambda places: x[places], goals, 5).tolist()) == [3, 77, 401]
    assert not len(choose(np.full(600, -np.inf), lambda places: x[places], goals, 5))
