"""Three linear spaces of frozen features: principal components of the plain, standardised and noise-whitened features.

With few labels, the feature space matters more than the kind of classifier. Standardising helps if a few features are
much larger than the others. Whitening by the covariance of augmentations (within a sample, as in linear discriminant
analysis with a class for each image) helps if most of the variance does not depend on the class.

Shape legend    N samples    D features    d principal components    n labelled    M samples with views    V views
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]

MAX_COMPONENTS = 256  # d is at most this, and at most a third of the samples
NOISE_SHRINKAGE = 0.3  # of the augmentations' covariance towards a multiple of the identity
SPREAD_FLOOR = 0.05  # share of the mean standard deviation that is added to each feature's own
EPS = 1e-12


@dataclass(frozen=True, slots=True)
class AugmentedViews:
    """Features of augmented views of some samples, the labelled ones among them; 500 more are enough."""

    features: NDArray[np.floating]  # (M, V, D)
    rows: Indices  # (M,) of the samples


@dataclass(frozen=True, slots=True)
class FeatureSpaces:
    """The samples in each space, with a root mean square length of 1, and the map from features to the plain space."""

    mean: Floats  # (D,)
    basis: Floats  # (D, d): plain = (features - mean) @ basis
    plain: Floats  # (N, d)
    standardised: Floats  # (N, d)
    whitened: Floats | None  # (N, d); None without views
    labelled_views: Floats | None  # (n, V, d) the labelled samples' views in the whitened space
    whitening: Floats | None  # (d, d): whitened = plain @ whitening

    def whiten(self, features: NDArray[np.floating]) -> Floats:
        """Returns features (..., D) in the whitened space (..., d), which there must be."""
        assert self.whitening is not None
        return np.asarray((np.asarray(features, np.float32) - self.mean) @ self.basis @ self.whitening, np.float32)


def feature_spaces(
    features: NDArray[np.floating], labelled: Indices, views: AugmentedViews | None = None
) -> FeatureSpaces:
    """Returns the samples in each of the three spaces.

    Args:
        features: (N, D) of the images without augmentation.
        labelled: (n,) rows with a label.
        views: see `AugmentedViews`; None for no whitened space.
    """
    x = np.asarray(features, np.float32)
    mean = x.mean(0)
    x = x - mean
    covariance = (x.T @ x).astype(np.float64) / len(x)
    d = max(1, min(MAX_COMPONENTS, len(x) // 3, x.shape[1]))
    basis = _principal_directions(covariance, d)
    plain = x @ basis
    length = _rms_length(plain)
    basis, plain = basis / length, plain / length
    spread = np.sqrt(np.diag(covariance))
    spread = np.maximum(spread + SPREAD_FLOOR * spread.mean(), EPS)
    directions = _principal_directions(covariance / np.outer(spread, spread), d)
    standardised = x @ (directions / spread[:, None]).astype(np.float32)
    standardised /= _rms_length(standardised)
    if views is None:
        return FeatureSpaces(mean, basis, plain, standardised, None, None, None)
    projected = (np.asarray(views.features, np.float32) - mean) @ basis  # (M, V, d)
    whitening = _whitening((projected - plain[views.rows][:, None]).reshape(-1, d))
    whitened = plain @ whitening
    length = _rms_length(whitened)
    row_of = {int(sample): row for row, sample in enumerate(views.rows)}
    of_labelled = projected[[row_of[int(sample)] for sample in labelled]] @ whitening / length
    return FeatureSpaces(mean, basis, plain, standardised, whitened / length, of_labelled, whitening / length)


def _principal_directions(covariance: NDArray[np.float64], d: int) -> Floats:
    _, directions = np.linalg.eigh(covariance)
    return np.ascontiguousarray(directions[:, ::-1][:, :d], np.float32)


def _whitening(noise: Floats) -> Floats:
    """Returns (d, d): the inverse square root of the shrunken covariance of the noise (M V, d)."""
    d = noise.shape[1]
    covariance = (noise.T @ noise).astype(np.float64)
    covariance *= d / max(float(np.trace(covariance)), EPS)
    lengths, directions = np.linalg.eigh((1 - NOISE_SHRINKAGE) * covariance + NOISE_SHRINKAGE * np.eye(d))
    return np.asarray(directions / np.sqrt(lengths), np.float32)


def _rms_length(x: Floats) -> np.float32:
    return np.float32(max(float(np.sqrt(np.square(x, dtype=np.float64).sum(1).mean())), EPS))
