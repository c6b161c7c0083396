"""Open-set recognition: how unlike every class a sample is, by its distance to the labelled and the rejected samples.

Shape legend    N samples    D features    L labelled samples    R rejected samples

The distance to the nearest labelled samples follows Sun et al., "Out-of-distribution detection with deep nearest
neighbors" (ICML 2022); docs/log.md compares it with the alternatives on held-out classes.
"""

import numpy as np
from numpy.typing import NDArray

NEIGHBOURS = 3
BLOCK = 4096  # samples compared at once


def unlike_any_class(
    features: NDArray[np.floating], labelled: NDArray[np.int64], rejected: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Returns how unlike the labelled samples each sample is (N,), higher for more; NaN without labelled samples.

    It is the mean cosine distance to the nearest labelled samples. With rejected samples, it is the share of that
    distance in the sum with the distance to the nearest rejected one. A sample is not compared with itself.

    Args:
        features: (N, D).
        labelled: (L,) positions in `features`.
        rejected: (R,) positions of the samples to which no class applies.
    """
    if not len(labelled):
        return np.full(len(features), np.nan)
    unit = np.asarray(features, np.float32)
    unit = unit / np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    far = _mean_distance(unit, labelled, NEIGHBOURS)
    if not len(rejected):
        return far
    near = _mean_distance(unit, rejected, 1)
    return far / np.maximum(far + near, 1e-12)


def _mean_distance(unit: NDArray[np.float32], others: NDArray[np.int64], neighbours: int) -> NDArray[np.float64]:
    """Returns the mean cosine distance (N,) of each sample to the nearest of the others, 1 if there are none."""
    out = np.empty(len(unit))
    for start in range(0, len(unit), BLOCK):
        similarity = unit[start : start + BLOCK] @ unit[others].T
        own = others[None] == np.arange(start, start + len(similarity))[:, None]
        similarity[own] = 0.0  # as far as an unrelated image
        k = min(neighbours, len(others))
        nearest = np.partition(similarity, len(others) - k, axis=1)[:, -k:]
        out[start : start + len(similarity)] = 1 - nearest.mean(1)
    return np.clip(out, 0, 2)
