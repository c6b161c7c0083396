"""Selects a diverse batch of high-scoring samples for review.

Shape legend    N samples    d of the space
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradebook.mpl.reasons import Scores

POOL = 10  # size of the candidate pool, as a multiple of the batch size


def rank(scores: Scores) -> NDArray[np.int64]:
    """Returns the indices of the samples by score, highest first and NaN last; ties keep their order."""
    return np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable")


def top(scores: NDArray[np.floating[Any]], k: int) -> NDArray[np.int64]:
    """Returns the first `k` >= 1 indices of `rank` without sorting the others. No score may be NaN."""
    if k >= len(scores):
        return np.argsort(-scores, kind="stable")
    least = _kth(scores, k)
    above = np.flatnonzero(scores > least)
    tied = np.flatnonzero(scores == least)[: k - len(above)]
    return np.concatenate([above[np.argsort(-scores[above], kind="stable")], tied])


def _kth(scores: NDArray[np.floating[Any]], k: int) -> Any:
    """Returns the k-th highest score; if most scores are the lowest one, 20 times faster than `np.partition` of all."""
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
    """Chooses a diverse batch of high scores: balanced over classes and clusters, without near-duplicates.

    The pool is the `POOL` * `budget` highest scores. Each choice is the sample with the largest product of its rank
    (1 for the highest score of the pool, near 0 for the lowest) and its distance to the nearest sample chosen so far,
    as in greedy k-centre (Sener and Savarese, 2018, https://arxiv.org/abs/1708.00489). Each class may have
    budget / classes samples; more only if the other classes have no candidates left. The choice is deterministic.

    Args:
        scores: (N,), NaN where unknown.
        budget: samples to choose; fewer if there are fewer candidates.
        space: (N, d) features of the samples; None ignores distances.
        classes: (N,) predicted classes; None does not balance classes.
        groups: (N,) group of near-duplicates of each sample; None for no near-duplicates.

    Returns:
        Indices of the chosen samples, in the order of choice.
    """
    pool = drop_duplicates(rank(scores), groups)[: POOL * budget]
    rank_weight = 1 - np.arange(len(pool)) / max(len(pool), 1)
    named = np.zeros(len(pool), np.int64) if classes is None else classes[pool]
    share = -(-budget // max(len(np.unique(named)), 1))
    unit = None if space is None else _unit(space[pool])
    distance = np.ones(len(pool))
    left = np.ones(len(pool), bool)
    taken: dict[int, int] = {}
    chosen: list[int] = []
    while left.any() and len(chosen) < budget:
        full = [name for name, number in taken.items() if number >= share]
        open_ = left & ~np.isin(named, full)
        gain = np.where(open_ if open_.any() else left, rank_weight * distance, -1.0)
        best = int(gain.argmax())
        chosen.append(best)
        left[best] = False
        taken[int(named[best])] = taken.get(int(named[best]), 0) + 1
        if unit is not None:
            distance = np.minimum(distance, (1 - unit @ unit[best]) / 2)
    return np.asarray(pool[chosen], np.int64)


def drop_duplicates(order: NDArray[np.int64], groups: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Returns the order with only the first sample of each group of near-duplicates."""
    if groups is None:
        return order
    _, first = np.unique(groups[order], return_index=True)
    return order[np.sort(first)]


def duplicate_groups(duplicate_of: NDArray[np.signedinteger[Any]]) -> NDArray[np.int64]:
    """Returns the group of near-duplicates of each sample (N,).

    Args:
        duplicate_of: (N,) index of an earlier near-duplicate of each sample, -1 if there is none.
    """
    groups = np.arange(len(duplicate_of))
    for index, earlier in enumerate(duplicate_of):  # the group of an earlier sample is final
        if earlier >= 0:
            groups[index] = groups[earlier]
    return groups


def _unit(space: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(space / np.maximum(np.linalg.norm(space, axis=1, keepdims=True), 1e-12))
