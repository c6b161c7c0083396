"""Which unlabelled samples to ask about next: the strategies that the queue is compared with, and its own.

Shape legend    N candidates    M labelled samples    D features    K classes    b samples to choose

A strategy takes a `Pool`, b and a seeded generator, and returns b different positions in the pool, first ones first.
Strategies that draw nothing ignore the generator.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int64]  # (b,)
Numbers = NDArray[np.float64]

TINY = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """What a strategy may look at."""

    features: NDArray[np.float32]  # (N, D) of the candidates: what the linear student is fed
    labelled: NDArray[np.float32]  # (M, D) of the samples that have their label
    student: Numbers  # (N, K) the finished student's distributions


Strategy = Callable[[Pool, int, np.random.Generator], Positions]


def at_random(pool: Pool, b: int, random: np.random.Generator) -> Positions:
    """Draws without looking: the baseline."""
    return random.permutation(len(pool.features))[:b]


def entropy(pool: Pool, b: int, random: np.random.Generator) -> Positions:
    """The largest entropy of the student's distribution (Lewis & Gale 1994; Settles 2009, section 3.1)."""
    p = np.clip(pool.student, TINY, 1)
    return _largest(-(p * np.log(p)).sum(1), b)


def margin(pool: Pool, b: int, random: np.random.Generator) -> Positions:
    """The smallest difference between the two likeliest classes (Scheffer et al. 2001)."""
    second, first = np.sort(pool.student, axis=1)[:, -2:].T
    return _largest(second - first, b)


def k_centre(pool: Pool, b: int, random: np.random.Generator) -> Positions:
    """Each time the candidate farthest from all that is labelled or chosen (Sener & Savarese 2018, algorithm 1).

    Where nothing is labelled the first one is drawn.
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
        far[chosen] = -1.0  # nobody twice, also among equals
    return np.array(chosen, np.int64)


def badge(pool: Pool, b: int, random: np.random.Generator) -> Positions:
    """k-means++ seeding on the gradient that each candidate would send into the student (Ash et al. 2020, BADGE).

    A linear student has one layer, so the gradient of the likeliest class's loss is g = (p - onehot(argmax p)) xᵀ,
    (K, D), and ⟨g, g'⟩ = ⟨a, a'⟩⟨x, x'⟩ with a = p - onehot: no (N, K·D) matrix is made. The first is the one with the
    longest gradient, as in the authors' code; then each is drawn with a chance in proportion to its squared distance.
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
    """Covers what the student doubts (Bae et al. 2025, Uncertainty Herding; without a student MaxHerding, 2024).

    Doubt is 1 minus the margin; see `cover` for the rest. The papers narrow the kernel as labels come; here it stays.
    """
    second, first = np.sort(pool.student, axis=1)[:, -2:].T
    return cover(pool.features, pool.labelled, 1 - (first - second), b, random)


def cover(
    features: NDArray[np.float32],
    labelled: NDArray[np.float32],
    doubt: Numbers,
    b: int,
    random: np.random.Generator,
    *,
    width: float = 1.0,
) -> Positions:
    """Chooses greedily what covers most of the doubt that the labelled samples leave uncovered.

    With k(x, y) = exp(-|x - y|² / width²) on centred vectors of length one, each choice maximises (Bae et al. 2025)

        Σ_n doubt_n · max(k(x_n, x) - max over labelled and chosen y of k(x_n, y), 0)

    so a choice is typical of many candidates at few labels, and different from all before it. What a choice adds only
    shrinks with others (the sum is submodular), so a gain is looked at again only when it is the largest.

    Args:
        features: (N, D) of the candidates.
        labelled: (M, D), M may be 0.
        doubt: (N,) at least 0; all alike before there is a student.
        b: how many to choose; all candidates where there are fewer.
        random: draws the `COVERED` candidates that are to be covered where there are more.
        width: of the kernel, where vectors have length one.

    Returns:
        (b,) positions in `features`, first ones first.
    """
    every = _directions(np.concatenate([features, labelled]))
    x, seen = every[: len(features)], every[len(features) :]
    drawn = np.sort(random.permutation(len(x))[:COVERED])
    goal, weight = x[drawn], doubt[drawn].astype(np.float32)
    covered = _nearest(goal, seen, width)
    gain = np.concatenate([_gains(part, goal, weight, covered, width) for part in _parts(x)]) if len(x) else doubt
    looked = np.zeros(len(x), np.int64)  # how many had been chosen when a gain was found
    chosen: list[int] = []
    while len(chosen) < min(b, len(x)):
        first = np.argsort(-gain, kind="stable")[:AT_ONCE]
        if looked[first[0]] == len(chosen):
            chosen.append(int(first[0]))
            covered = np.maximum(covered, _kernel(x[first[:1]], goal, width)[0])
            gain[first[0]], looked[first[0]] = -np.inf, b
        else:
            stale = first[looked[first] < len(chosen)]
            gain[stale], looked[stale] = _gains(x[stale], goal, weight, covered, width), len(chosen)
    return np.array(chosen, np.int64)


COVERED = 4_000  # candidates that are to be covered at most: bounds the time at N·COVERED·D
AT_ONCE = 64  # gains that are looked at again together

STRATEGIES: dict[str, Strategy] = {
    "random": at_random,
    "entropy": entropy,
    "margin": margin,
    "k_centre": k_centre,
    "badge": badge,
    "herding": herding,
}

COLD = frozenset({"random", "k_centre", "herding"})  # those that do without a student


def _largest(scores: Numbers, b: int) -> Positions:
    """Returns the positions of the b largest scores, of equals the first."""
    return np.argsort(-scores, kind="stable")[:b]


def _directions(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns vectors (n, D) centred and brought to length one; features after an activation all point one way."""
    centred = x.astype(np.float32) - x.mean(0, dtype=np.float32)
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), TINY), np.float32)


def _kernel(x: NDArray[np.float32], y: NDArray[np.float32], width: float) -> NDArray[np.float32]:
    """Returns k (n, m) of vectors of length one."""
    return np.asarray(np.exp((2 * (x @ y.T) - 2) / width**2), np.float32)


def _nearest(goal: NDArray[np.float32], seen: NDArray[np.float32], width: float) -> NDArray[np.float32]:
    """Returns how well each of `goal` (n, D) is covered by its nearest of `seen` (m, D): 0 where there is none."""
    found = np.zeros(len(goal), np.float32)
    for part in _parts(seen):
        found = np.maximum(found, _kernel(goal, part, width).max(1))
    return found


def _gains(
    x: NDArray[np.float32],
    goal: NDArray[np.float32],
    weight: NDArray[np.float32],
    covered: NDArray[np.float32],
    width: float,
) -> Numbers:
    """Returns the doubt (n,) that each of `x` (n, D) would cover anew."""
    return np.asarray(np.maximum(_kernel(x, goal, width) - covered, 0) @ weight, np.float64)


def _parts(x: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Returns the rows in parts that fit into memory with their kernels."""
    return [x[start : start + 1024] for start in range(0, len(x), 1024)]
