"""Metrics of a classifier on labelled samples, as pure functions.

Shape legend    N samples    K classes
"""

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.float64]  # (N, K)
Labels = NDArray[np.int64]  # (N,)
Z95 = 1.96  # 95 % of a normal distribution lie within this many standard deviations of the mean


def accuracy(probabilities: Probabilities, labels: Labels) -> float:
    """Returns the share of samples whose predicted class is the label."""
    return float((probabilities.argmax(1) == labels).mean())


def balanced_accuracy(probabilities: Probabilities, labels: Labels) -> float:
    """Returns the mean of the accuracies of the classes that have labels; a label may be a class beyond the K."""
    right = probabilities.argmax(1) == labels
    return float(np.mean([right[labels == k].mean() for k in np.unique(labels)]))


def accuracy_interval(accuracy: float, n: int) -> tuple[float, float]:
    """Returns Wilson's 95 % interval of an accuracy measured on `n` samples (Wilson, 1927)."""
    centre = (accuracy + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 * np.sqrt(accuracy * (1 - accuracy) / n + (Z95 / (2 * n)) ** 2) / (1 + Z95**2 / n)
    return float(max(centre - half, 0)), float(min(centre + half, 1))


def balanced_accuracy_interval(probabilities: Probabilities, labels: Labels) -> tuple[float, float]:
    """Returns the 95 % interval of the balanced accuracy, a mean of independent shares.

    The variance of a class is p (1 - p) / n with p = (correct + 1) / (n + 2), so that it is not zero if all of the
    class are correct, or all wrong.
    """
    right = probabilities.argmax(1) == labels
    classes = np.unique(labels)
    variance = 0.0
    for k in classes:
        n = int((labels == k).sum())
        p = (int(right[labels == k].sum()) + 1) / (n + 2)
        variance += p * (1 - p) / n
    half = Z95 * np.sqrt(variance) / len(classes)
    mean = balanced_accuracy(probabilities, labels)
    return float(max(mean - half, 0)), float(min(mean + half, 1))


def confusion(probabilities: Probabilities, labels: Labels) -> NDArray[np.int64]:
    """Returns the confusion matrix (K, K): a row is the label, a column the prediction."""
    k = probabilities.shape[1]
    pairs = labels * k + probabilities.argmax(1)
    return np.bincount(pairs, minlength=k * k).reshape(k, k)


def macro_f1(confusion: NDArray[np.int64]) -> float:
    """Returns the mean over the classes with labels of F1 = 2 TP / (2 TP + FP + FN), from a confusion matrix (K, K)."""
    right, labels, predicted = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    has_labels = labels > 0
    return float((2 * right[has_labels] / (labels + predicted)[has_labels]).mean())


def macro_f1_interval(confusion: NDArray[np.int64], *, draws: int = 1000, seed: int = 0) -> tuple[float, float]:
    """Returns the 95 % interval of `macro_f1` by the bootstrap: samples are drawn again from the matrix (K, K)."""
    n = int(confusion.sum())
    matrices = np.random.default_rng(seed).multinomial(n, confusion.ravel() / n, size=draws)
    low, high = np.percentile([macro_f1(m.reshape(confusion.shape)) for m in matrices], (2.5, 97.5))
    return float(low), float(high)


def calibration_error(probabilities: Probabilities, labels: Labels, *, bins: int = 15) -> float:
    """Returns the expected calibration error (Guo et al., 2017, https://arxiv.org/abs/1706.04599, equation 3).

    Samples are put into bins of equal width by their largest probability. The error is the mean over samples of the
    distance between their bin's accuracy and its mean probability: 0 is calibrated, 1 is always certain and wrong.
    """
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    index = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gap = np.bincount(index, weights=right - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(labels))
