"""Selects a diverse batch of high-scoring samples for review.

Shape legend    N samples    d of the space
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradebook.mpl.reasons import Scores

POOL = 10  # candidates for a batch, as a multiple of its size


def rank(scores: Scores) -> NDArray[np.int64]:
    """Returns the indices of samples by score, highest first, unknown (NaN) last; ties keep their order."""
    return np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable")


def top(scores: NDArray[np.floating[Any]], k: int) -> NDArray[np.int64]:
    """Returns the first `k` >= 1 indices of `rank` without sorting the others; scores must be known."""
    if k >= len(scores):
        return np.argsort(-scores, kind="stable")
    least = _kth(scores, k)
    above = np.flatnonzero(scores > least)
    level = np.flatnonzero(scores == least)[: k - len(above)]
    return np.concatenate([above[np.argsort(-scores[above], kind="stable")], level])


def _kth(scores: NDArray[np.floating[Any]], k: int) -> Any:
    """Returns the k-th highest score. Where most have the lowest one, `np.partition` of all takes 20 times as long."""
    least = scores.min()
    some = scores[scores > least]
    if len(some) < k:
        return least
    some = some if 2 * len(some) < len(scores) else scores
    return np.partition(some, len(some) - k)[len(some) - k]


def spread(
    scores: Scores,
    budget: int,
    *,
    space: NDArray[np.float32] | None = None,
    classes: NDArray[np.int64] | None = None,
    groups: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Chooses a batch of high scores that covers classes and clusters, without near-duplicates.

    Among the `POOL` times `budget` highest scores it takes, one after another, the sample with the largest product of
    its score's place (1 the highest of the pool, near 0 the lowest) and its distance to the nearest one chosen so far,
    as greedy k-centre does (Sener and Savarese, 2018, https://arxiv.org/abs/1708.00489). A class that has had its
    share, the budget over the classes in the pool, waits until no other class has anyone left. Nothing is drawn.

    Args:
        scores: (N,), NaN where unknown.
        budget: samples to choose; fewer where there are not so many.
        space: (N, d) vectors of the samples; without them only classes and near-duplicates count.
        classes: (N,) predicted class of each.
        groups: (N,) near-duplicates have the same number; None for no near-duplicates.

    Returns:
        Indices of the chosen samples, in the order of choice.
    """
    pool = one_of_each(rank(scores), groups)[: POOL * budget]
    worth = 1 - np.arange(len(pool)) / max(len(pool), 1)
    named = np.zeros(len(pool), np.int64) if classes is None else classes[pool]
    share = -(-budget // max(len(np.unique(named)), 1))
    unit = None if space is None else _unit(space[pool])
    far = np.ones(len(pool))
    left = np.ones(len(pool), bool)
    taken: dict[int, int] = {}
    chosen: list[int] = []
    while left.any() and len(chosen) < budget:
        full = [name for name, number in taken.items() if number >= share]
        open_ = left & ~np.isin(named, full)
        gain = np.where(open_ if open_.any() else left, worth * far, -1.0)
        best = int(gain.argmax())
        chosen.append(best)
        left[best] = False
        taken[int(named[best])] = taken.get(int(named[best]), 0) + 1
        if unit is not None:
            far = np.minimum(far, (1 - unit @ unit[best]) / 2)
    return np.asarray(pool[chosen], np.int64)


def one_of_each(order: NDArray[np.int64], groups: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Returns the order without samples that have a near-duplicate before them."""
    if groups is None:
        return order
    _, first = np.unique(groups[order], return_index=True)
    return order[np.sort(first)]


def groups_of(twins: NDArray[np.signedinteger[Any]]) -> NDArray[np.int64]:
    """Returns (N,) the same number for all near-duplicates of each other, from each one's earlier twin, -1 for none."""
    groups = np.arange(len(twins))
    for index, twin in enumerate(twins):  # a twin comes earlier, so its group is final
        if twin >= 0:
            groups[index] = groups[twin]
    return groups


def _unit(space: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(space / np.maximum(np.linalg.norm(space, axis=1, keepdims=True), 1e-12))
