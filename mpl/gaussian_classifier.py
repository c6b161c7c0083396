"""A second reading: what the images alone say of a run's opinions, in the space of a frozen backbone.

Student and teacher share their mistakes: one learned from the other. A reader of another kind, with one Gaussian a
class and one covariance for all, is fitted to their opinions of the unlabelled samples and asked for its own: made
of thousands of guesses, it forgets those that do not fit their class (Lee et al., Robust Inference via Generative
Classifiers for Handling Noisy Labels, ICML 2019, https://arxiv.org/abs/1901.11300). To judge labels, one is fitted
that has seen none of them. How well that finds mistakes stands in docs/results.md.

Shape legend    N samples    V views of a sample    D features    d of the space    K classes    k neighbours
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradebook.mpl.approximate_neighbours import nearest_in_cells

Floats = NDArray[np.float32]
Opinions = NDArray[np.float64]  # (N, K) distributions, NaN rows where there is none

DIMENSIONS = 256  # d at most
SHRINKAGE = 0.1  # of the covariance towards a multiple of the identity
SOFTEN = 3.0  # the log odds are divided by it: features are not Gaussian, and the reader too sure of itself
LABEL_WEIGHT = 10.0
FITS = 3  # the second and third to the mean of the opinions and what it said itself
NEIGHBOURS = 20  # k
EXACT = 50_000  # samples up to which every two are compared
BLOCK = 1024  # rows compared with all others at once
TINY = 1e-12
DRAWN = 20_000  # samples that the space's directions are found from


def reading_space(views: NDArray[np.float16]) -> Floats:
    """Returns each sample's mean over its views, centred, in its d largest principal directions: (N, d).

    Args:
        views: (N, V, D).
    """
    n, _, features = views.shape
    means = np.empty((n, features), np.float32)
    for start in range(0, n, BLOCK):
        means[start : start + BLOCK] = views[start : start + BLOCK].astype(np.float32).mean(1)
    means -= means.mean(0)
    some = means[np.random.default_rng(0).permutation(n)[:DRAWN]]
    _, directions = np.linalg.eigh(some.T @ some / len(some))
    kept = min(DIMENSIONS, features, max(1, n // 4))
    return np.asarray(means @ directions[:, -kept:], np.float32)


def second_reading(
    space: Floats, opinions: Opinions, labels: NDArray[np.int64] | None = None
) -> tuple[Opinions, Floats]:
    """Fits the reader to the opinions, and to labels if there are any, and asks it about every sample.

    It is fitted `FITS` times: to the opinions, then to the mean of the opinions and what it said itself.

    Args:
        space: (N, d).
        opinions: (N, K); rows of NaN are not fitted to.
        labels: (N,) class, -1 for none; a label replaces the opinion and counts `LABEL_WEIGHT` times as much.

    Returns:
        (N, K) distributions, in which a class that the opinions give next to no weight gets none; and (N, d) the
        samples in the reader's measure, where the spread within a class is 1 in every direction.
    """
    x, weights = space.astype(np.float64), np.nan_to_num(opinions)
    given = np.full(len(x), -1) if labels is None else labels
    weights[given >= 0] = LABEL_WEIGHT * np.eye(weights.shape[1])[given[given >= 0]]
    there = weights.sum(0) > 1
    if not there.any():
        return np.full_like(weights, np.nan), space
    wanted = weights[:, there]
    guessed = ((given < 0) & (wanted.sum(1) > 0))[:, None]
    said, covariance = _fitted(x, wanted)
    for _ in range(FITS - 1):
        said, covariance = _fitted(x, np.where(guessed, (wanted + said) / 2, wanted))
    whole = np.zeros_like(weights)
    whole[:, there] = said
    lengths, directions = np.linalg.eigh(covariance)
    return whole, np.asarray(x @ directions / np.sqrt(lengths), np.float32)


def linear_discriminant(x: NDArray[Any], weights: NDArray[Any]) -> tuple[Opinions, Opinions, Opinions]:
    """Fits one Gaussian a class with one covariance for all; its log odds are linear in x.

    Args:
        x: (N, d).
        weights: (N, K) how much each sample counts for each class.

    Returns:
        slopes (d, K) and offsets (K,) of the logits x @ slopes + offsets, divided by SOFTEN; and the covariance (d, d).
    """
    total, inside = weights.sum(0), weights.sum(1)
    means = (weights.T @ x) / total[:, None]
    covariance = ((x * inside[:, None]).T @ x - (means.T * total) @ means) / total.sum()
    d = len(covariance)
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.eye(d) * (np.trace(covariance) / d + TINY)
    # log p(c) + log p(x | c), without what is the same for all c
    slopes = np.linalg.solve(covariance, means.T)
    offsets = np.log(total / total.sum()) - (means * slopes.T).sum(1) / 2
    return slopes / SOFTEN, offsets / SOFTEN, covariance


def _fitted(x: Opinions, weights: Opinions) -> tuple[Opinions, Opinions]:
    """Returns what a reader fitted to the weights (N, K) says, (N, K), and its covariance (d, d)."""
    slopes, offsets, covariance = linear_discriminant(x, weights)
    logits = x @ slopes + offsets
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return odds / odds.sum(1, keepdims=True), covariance


def nearest(space: Floats, k: int = NEIGHBOURS) -> tuple[NDArray[np.int32], Floats]:
    """Returns every sample's k nearest others and their cosine similarity, most similar first: (N, k) each.

    Exact up to `EXACT` samples, by products of blocks: N² d operations, 6,000 samples in a second, memory BLOCK × N.
    Of more, each is compared with those around it (`gradebook.mpl.approximate_neighbours`).
    """
    n = len(space)
    k = min(k, n - 1)
    if k < 1:
        return np.empty((n, 0), np.int32), np.empty((n, 0), np.float32)
    unit = space / np.maximum(np.linalg.norm(space, axis=1, keepdims=True), TINY)
    if n > EXACT:
        return nearest_in_cells(np.asarray(unit, np.float32), k)
    places, similar = np.empty((n, k), np.int32), np.empty((n, k), np.float32)
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        block = unit[start:stop] @ unit.T
        block[np.arange(stop - start), np.arange(start, stop)] = -np.inf  # itself
        some = np.argpartition(-block, k - 1, axis=1)[:, :k]
        values = np.take_along_axis(block, some, 1)
        order = np.lexsort((some, -values), axis=1)
        places[start:stop] = np.take_along_axis(some, order, 1)
        similar[start:stop] = np.take_along_axis(values, order, 1)
    return places, np.clip(similar, -1, 1)
