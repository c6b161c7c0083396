"""Query strategies of active learning: which unlabelled samples to label next.

Shape legend    N candidates    M labelled samples    D features    K classes    b samples to choose

A strategy takes a `Pool`, b and a seeded generator, and returns b different positions in the pool, best first.
Deterministic strategies ignore the generator.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradebook.mpl.facility_location import cover

Positions = NDArray[np.int64]  # (b,)
Numbers = NDArray[np.float64]

EPS = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Input of a strategy."""

    features: NDArray[np.float32]  # (N, D) of the candidates: inputs of the linear student
    labelled: NDArray[np.float32]  # (M, D) of the labelled samples
    student: Numbers  # (N, K) probabilities of the finished student


Strategy = Callable[[Pool, int, np.random.Generator], Positions]


def at_random(pool: Pool, b: int, random: np.random.Generator) -> Positions:
    """Uniform random samples: the baseline."""
    return random.permutation(len(pool.features))[:b]


def entropy(pool: Pool, b: int, random: np.random.Generator) -> Positions:
    """The highest entropy of the student's distribution (Lewis & Gale 1994; Settles 2009, section 3.1)."""
    p = np.clip(pool.student, EPS, 1)
    return _largest(-(p * np.log(p)).sum(1), b)


def margin(pool: Pool, b: int, random: np.random.Generator) -> Positions:
    """The smallest difference between the two likeliest classes (Scheffer et al. 2001)."""
    second, first = np.sort(pool.student, axis=1)[:, -2:].T
    return _largest(second - first, b)


def k_centre(pool: Pool, b: int, random: np.random.Generator) -> Positions:
    """Repeatedly the candidate farthest from all labelled or chosen samples (Sener & Savarese 2018, algorithm 1).

    Without labelled samples the first one is random.
    """
    x = pool.features.astype(np.float64)
    squares = (x**2).sum(1)
    far = np.full(len(x), np.inf)
    for row in pool.labelled.astype(np.float64):
        far = np.minimum(far, squares - 2 * x @ row + row @ row)
    chosen: list[int] = []
    for _ in range(min(b, len(x))):
        k = int(random.integers(len(x))) if np.isinf(far).all() else int(far.argmax())
        chosen.append(k)
        far = np.minimum(far, squares - 2 * x @ x[k] + squares[k])
        far[chosen] = -1.0  # no sample twice, also among equals
    return np.array(chosen, np.int64)


def badge(pool: Pool, b: int, random: np.random.Generator) -> Positions:
    """k-means++ seeding on the gradients of the candidates' losses in the student (Ash et al. 2020, BADGE).

    A linear student has one layer, so the gradient of the likeliest class's loss is g = (p - onehot(argmax p)) xᵀ,
    (K, D), and ⟨g, g'⟩ = ⟨a, a'⟩⟨x, x'⟩ with a = p - onehot, so no (N, K·D) matrix is needed. The first choice has the
    longest gradient, as in the authors' code. The others are random, with probabilities in proportion to their squared
    distances.
    """
    x, a = pool.features.astype(np.float64), pool.student.copy()
    a[np.arange(len(a)), a.argmax(1)] -= 1
    squares = (a**2).sum(1) * (x**2).sum(1)
    near = np.full(len(x), np.inf)
    chosen = [int(squares.argmax())]
    while len(chosen) < min(b, len(x)):
        k = chosen[-1]
        near = np.minimum(near, np.maximum(squares + squares[k] - 2 * (a @ a[k]) * (x @ x[k]), 0))
        near[chosen] = 0
        left = np.setdiff1d(np.arange(len(x)), chosen)
        weights = near[left] if near.sum() > 0 else np.ones(len(left))  # all that is left is equal to what is chosen
        chosen.append(int(random.choice(left, p=weights / weights.sum())))
    return np.array(chosen, np.int64)


def herding(pool: Pool, b: int, random: np.random.Generator) -> Positions:
    """Samples that cover the uncertain ones (Bae et al. 2025, Uncertainty Herding; without a student MaxHerding, 2024).

    Uncertainty is 1 minus the margin; see `gradebook.mpl.facility_location`. The papers narrow the kernel with more
    labels; here it is constant.
    """
    second, first = np.sort(pool.student, axis=1)[:, -2:].T
    return cover(pool.features, pool.labelled, 1 - (first - second), b, random)


STRATEGIES: dict[str, Strategy] = {
    "random": at_random,
    "entropy": entropy,
    "margin": margin,
    "k_centre": k_centre,
    "badge": badge,
    "herding": herding,
}

COLD = frozenset({"random", "k_centre", "herding"})  # strategies that need no student


def _largest(scores: Numbers, b: int) -> Positions:
    """Returns the positions of the b largest scores; ties keep their order."""
    return np.argsort(-scores, kind="stable")[:b]
