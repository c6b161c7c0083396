"""Gaussian classifier (linear discriminant analysis) fitted to a run's predictions on frozen features.

Student and teacher share their mistakes, since one learned from the other. A classifier of another kind, with a
Gaussian for each class and a shared covariance, is therefore fitted to their predictions for the unlabelled samples. It
averages over thousands of predictions, and so corrects those that do not fit their class (Lee et al., Robust Inference
via Generative Classifiers for Handling Noisy Labels, ICML 2019, https://arxiv.org/abs/1901.11300). Labels are judged by
a second one, fitted without labels. docs/results.md has its accuracy at finding mistakes.

Shape legend    N samples    V views of a sample    D features    d principal components    K classes    k neighbours
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradebook.mpl.approximate_neighbours import approximate_nearest

Floats = NDArray[np.float32]
Probabilities = NDArray[np.float64]  # (N, K) distributions; rows of NaN where unknown

MAX_COMPONENTS = 256  # d is at most this
SHRINKAGE = 0.1  # of the covariance towards a multiple of the identity
SOFTEN = 3.0  # temperature of the logits: features are not Gaussian, so the classifier is overconfident
LABEL_WEIGHT = 10.0  # of a label, relative to a prediction
FITS = 3  # the second and third are to the mean of the given and the classifier's own predictions
NEIGHBOURS = 20  # k
MAX_EXACT = 50_000  # samples up to which all pairs are compared
BLOCK_ROWS = 1024  # samples compared with all others at once
EPS = 1e-12
PCA_SAMPLES = 20_000  # samples for the principal components


def principal_components(views: NDArray[np.float16]) -> Floats:
    """Returns the first d principal components of each sample's mean over its views, centred: (N, d).

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
    d = min(MAX_COMPONENTS, features, max(1, n // 4))
    return np.asarray(means @ directions[:, -d:], np.float32)


def fit_predict(
    space: Floats, predictions: Probabilities, labels: NDArray[np.int64] | None = None
) -> tuple[Probabilities, Floats]:
    """Fits the classifier to predictions and labels; returns its own predictions for every sample.

    It is fitted `FITS` times: first to the given predictions, then to the mean of these and its own.

    Args:
        space: (N, d).
        predictions: (N, K); rows of NaN are ignored.
        labels: (N,) class, -1 for none; a label replaces the prediction and has `LABEL_WEIGHT` times the weight.

    Returns:
        (N, K) distributions, zero for classes with almost no weight in the predictions; and (N, d) whitened features,
        with unit variance within a class in every direction.
    """
    x, weights = space.astype(np.float64), np.nan_to_num(predictions)
    given = np.full(len(x), -1) if labels is None else labels
    weights[given >= 0] = LABEL_WEIGHT * np.eye(weights.shape[1])[given[given >= 0]]
    present = weights.sum(0) > 1
    if not present.any():
        return np.full_like(weights, np.nan), space
    targets = weights[:, present]
    unlabelled = ((given < 0) & (targets.sum(1) > 0))[:, None]
    predicted, covariance = _fitted(x, targets)
    for _ in range(FITS - 1):
        predicted, covariance = _fitted(x, np.where(unlabelled, (targets + predicted) / 2, targets))
    probabilities = np.zeros_like(weights)
    probabilities[:, present] = predicted
    lengths, directions = np.linalg.eigh(covariance)
    return probabilities, np.asarray(x @ directions / np.sqrt(lengths), np.float32)


def linear_discriminant(x: NDArray[Any], weights: NDArray[Any]) -> tuple[Probabilities, Probabilities, Probabilities]:
    """Fits a Gaussian for each class with a shared covariance; the logits are linear in x.

    Args:
        x: (N, d).
        weights: (N, K) weight of each sample for each class.

    Returns:
        slopes (d, K) and offsets (K,) of the logits x @ slopes + offsets, divided by SOFTEN; and the covariance (d, d).
    """
    total, of_sample = weights.sum(0), weights.sum(1)
    means = (weights.T @ x) / total[:, None]
    covariance = ((x * of_sample[:, None]).T @ x - (means.T * total) @ means) / total.sum()
    d = len(covariance)
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.eye(d) * (np.trace(covariance) / d + EPS)
    # log p(c) + log p(x | c), without the terms that are the same for all c
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
    """Returns the k nearest neighbours of every sample and their cosine similarity, most similar first: (N, k) each.

    Exact up to `MAX_EXACT` samples, by blocked matrix products: N² d operations, 6,000 samples in a second. With more,
    see `gradebook.mpl.approximate_neighbours`.
    """
    n = len(space)
    k = min(k, n - 1)
    if k < 1:
        return np.empty((n, 0), np.int32), np.empty((n, 0), np.float32)
    unit = space / np.maximum(np.linalg.norm(space, axis=1, keepdims=True), EPS)
    if n > MAX_EXACT:
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


def nearest_among(space: Floats, candidates: NDArray[np.int32], k: int) -> tuple[NDArray[np.int32], Floats]:
    """Returns the same as `nearest`, but looks for each sample's neighbours among its own candidates (N, c) alone."""
    n, k = len(space), min(k, candidates.shape[1])
    unit = space / np.maximum(np.linalg.norm(space, axis=1, keepdims=True), EPS)
    indices, similarity = np.empty((n, k), np.int32), np.empty((n, k), np.float32)
    for start in range(0, n, BLOCK_ROWS):
        some = candidates[start : start + BLOCK_ROWS]
        values = np.einsum("ncd,nd->nc", unit[some], unit[start : start + BLOCK_ROWS])
        order = np.lexsort((some, -values), axis=1)[:, :k]
        indices[start : start + BLOCK_ROWS] = np.take_along_axis(some, order, 1)
        similarity[start : start + BLOCK_ROWS] = np.take_along_axis(values, order, 1)
    return indices, np.clip(similarity, -1, 1)
