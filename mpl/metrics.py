"""How good a classifier is on labelled samples, as pure functions.

Shape legend    N samples    K classes
"""

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.float64]  # (N, K)
Labels = NDArray[np.int64]  # (N,)


def accuracy(probabilities: Probabilities, labels: Labels) -> float:
    """Returns the share of samples whose likeliest class is the label."""
    return float((probabilities.argmax(1) == labels).mean())


def confusion(probabilities: Probabilities, labels: Labels) -> NDArray[np.int64]:
    """Returns (K, K) counts: a row is the label, a column what was said."""
    k = probabilities.shape[1]
    pairs = labels * k + probabilities.argmax(1)
    return np.bincount(pairs, minlength=k * k).reshape(k, k)


def calibration_error(probabilities: Probabilities, labels: Labels, *, bins: int = 15) -> float:
    """Returns the expected calibration error (Guo et al., 2017, https://arxiv.org/abs/1706.04599, equation 3).

    Samples are put into bins of equal width by the probability of their likeliest class; the error is the mean over
    samples of how far their bin's accuracy is from its mean probability: 0 is calibrated, 1 is always sure and wrong.
    """
    sure, right = probabilities.max(1), probabilities.argmax(1) == labels
    place = np.minimum((sure * bins).astype(np.int64), bins - 1)
    gap = np.bincount(place, weights=right - sure, minlength=bins)
    return float(np.abs(gap).sum() / len(labels))
