"""Gaussian classifier (linear discriminant analysis) fitted to a run's predictions on frozen features.

Student and teacher share their mistakes, since one learned from the other. A classifier of another kind, with a
Gaussian for each class and one covariance, is fitted to their predictions for the unlabelled samples. It averages over
thousands of predictions and so corrects those that do not fit their class (Lee et al., Robust Inference via Generative
Classifiers for Handling Noisy Labels, ICML 2019, https://arxiv.org/abs/1901.11300). To check labels, one is fitted
without them. docs/results.md has its accuracy at finding mistakes.

Shape legend    N samples    V views of a sample    D features    d of the space    K classes    k neighbours
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradebook.mpl.approximate_neighbours import approximate_nearest

Floats = NDArray[np.float32]
Probabilities = NDArray[np.float64]  # (N, K) distributions, NaN rows where there is none

DIMENSIONS = 256  # d at most
SHRINKAGE = 0.1  # of the covariance towards a multiple of the identity
SOFTEN = 3.0  # temperature of the log odds: features are not Gaussian, so the classifier is overconfident
LABEL_WEIGHT = 10.0
FITS = 3  # the second and third to the mean of the given and its own predictions
NEIGHBOURS = 20  # k
EXACT = 50_000  # samples, up to which all pairs are compared
BLOCK_ROWS = 1024  # rows compared with all others at once
EPS = 1e-12
PCA_SAMPLES = 20_000  # samples for the principal components


def principal_components(views: NDArray[np.float16]) -> Floats:
    """Returns each sample's mean over its views, centred, in its d largest principal directions: (N, d).

    Args:
        views: (N, V, D).
    """
    n, _, features = views.shape
    means = np.empty((n, features), np.float32)
    for start in range(0, n, BLOCK_ROWS):
        means[start : start + BLOCK_ROWS] = views[start : start + BLOCK_ROWS].astype(np.float32).mean(1)
    means -= means.mean(0)
    some = means[np.random.default_rng(0).permutation(n)[:PCA_SAMPLES]]
    _, directions = np.linalg.eigh(some.T @ some / len(some))
    kept = min(DIMENSIONS, features, max(1, n // 4))
    return np.asarray(means @ directions[:, -kept:], np.float32)


def fit_predict(
    space: Floats, predictions: Probabilities, labels: NDArray[np.int64] | None = None
) -> tuple[Probabilities, Floats]:
    """Fits the classifier to predictions and labels, and returns its own predictions for every sample.

    It is fitted `FITS` times: to the given predictions, then to the mean of these and its own.

    Args:
        space: (N, d).
        predictions: (N, K); rows of NaN are ignored.
        labels: (N,) class, -1 for none; a label replaces the prediction and has `LABEL_WEIGHT` times the weight.

    Returns:
        (N, K) distributions, zero for classes that have almost no weight in the predictions; and (N, d) whitened
        features, with unit variance within a class in every direction.
    """
    x, weights = space.astype(np.float64), np.nan_to_num(predictions)
    given = np.full(len(x), -1) if labels is None else labels
    weights[given >= 0] = LABEL_WEIGHT * np.eye(weights.shape[1])[given[given >= 0]]
    there = weights.sum(0) > 1
    if not there.any():
        return np.full_like(weights, np.nan), space
    targets = weights[:, there]
    unlabelled = ((given < 0) & (targets.sum(1) > 0))[:, None]
    predicted, covariance = _fitted(x, targets)
    for _ in range(FITS - 1):
        predicted, covariance = _fitted(x, np.where(unlabelled, (targets + predicted) / 2, targets))
    whole = np.zeros_like(weights)
    whole[:, there] = predicted
    lengths, directions = np.linalg.eigh(covariance)
    return whole, np.asarray(x @ directions / np.sqrt(lengths), np.float32)


def linear_discriminant(x: NDArray[Any], weights: NDArray[Any]) -> tuple[Probabilities, Probabilities, Probabilities]:
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
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.eye(d) * (np.trace(covariance) / d + EPS)
    # log p(c) + log p(x | c), without terms that all c share
    slopes = np.linalg.solve(covariance, means.T)
    offsets = np.log(total / total.sum()) - (means * slopes.T).sum(1) / 2
    return slopes / SOFTEN, offsets / SOFTEN, covariance


def _fitted(x: Probabilities, weights: Probabilities) -> tuple[Probabilities, Probabilities]:
    """Returns the predictions (N, K) of a classifier fitted to the weights (N, K), and its covariance (d, d)."""
    slopes, offsets, covariance = linear_discriminant(x, weights)
    logits = x @ slopes + offsets
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return odds / odds.sum(1, keepdims=True), covariance


def nearest(space: Floats, k: int = NEIGHBOURS) -> tuple[NDArray[np.int32], Floats]:
    """Returns every sample's k nearest others and their cosine similarity, most similar first: (N, k) each.

    Exact up to `EXACT` samples, by products of blocks: N² d operations, 6,000 samples in a second.
    For more, see `gradebook.mpl.approximate_neighbours`.
    """
    n = len(space)
    k = min(k, n - 1)
    if k < 1:
        return np.empty((n, 0), np.int32), np.empty((n, 0), np.float32)
    unit = space / np.maximum(np.linalg.norm(space, axis=1, keepdims=True), EPS)
    if n > EXACT:
        return approximate_nearest(np.asarray(unit, np.float32), k)
    indices, similarity = np.empty((n, k), np.int32), np.empty((n, k), np.float32)
    for start in range(0, n, BLOCK_ROWS):
        stop = min(start + BLOCK_ROWS, n)
        block = unit[start:stop] @ unit.T
        block[np.arange(stop - start), np.arange(start, stop)] = -np.inf  # itself
        some = np.argpartition(-block, k - 1, axis=1)[:, :k]
        values = np.take_along_axis(block, some, 1)
        order = np.lexsort((some, -values), axis=1)
        indices[start:stop] = np.take_along_axis(some, order, 1)
        similarity[start:stop] = np.take_along_axis(values, order, 1)
    return indices, np.clip(similarity, -1, 1)
