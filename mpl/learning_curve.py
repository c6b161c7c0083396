"""Learning curves: accuracy against the number of labels as a power law, with what is not known about it.

    accuracy(n) = a - b n^(-c),   a <= 1 the limit, b >= 0, c > 0 the rate

(Hestness et al., 2017; PALM, ICCV 2025, fits a similar law to rounds of active learning). A few measured points leave
much open, so all curves of a grid are kept, each with its posterior weight, instead of one fitted curve.

Shape legend    P measured points    G curves of the grid
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LIMITS, RATES, LEVELS = 60, 30, 31  # values of a, of c, and of the accuracy at the last point
RATE, RATE_SPREAD = 0.5, 0.6  # median of c before anything is measured, and the standard deviation of its logarithm
WIDEST = 4.0  # standard deviations by which the curve may miss the last point
QUANTILES = (0.025, 0.975)


@dataclass(frozen=True, slots=True)
class Curves:
    """Curves with weights that sum to 1."""

    limit: Floats  # (G,) a
    scale: Floats  # (G,) b
    rate: Floats  # (G,) c
    weight: Floats  # (G,)

    def at(self, n: float) -> Floats:
        """Returns the accuracy (G,) with n labels."""
        return np.asarray(self.limit - self.scale * n**-self.rate)

    def mean(self, values: Floats) -> float:
        """Returns the mean over the curves of a value (G,) of each."""
        return float(self.weight @ values)

    def interval(self, values: Floats, noise: float = 0.0) -> tuple[float, float]:
        """Returns the 95 % interval of a value (G,) of each curve plus Gaussian noise of that standard deviation."""
        if not noise:
            order = np.argsort(values)
            total = np.cumsum(self.weight[order])
            at = np.minimum(np.searchsorted(total, QUANTILES), len(order) - 1)
            return float(values[order[at[0]]]), float(values[order[at[1]]])
        spread = float(np.sqrt(self.weight @ (values - self.mean(values)) ** 2 + noise**2))
        return self.mean(values) - 1.96 * spread, self.mean(values) + 1.96 * spread


def fit_curves(sizes: Sequence[float], accuracies: Sequence[float], deviations: Sequence[float]) -> Curves:
    """Returns the curves that agree with measured points.

    Args:
        sizes: (P,) numbers of labels, increasing, P >= 2.
        accuracies: (P,) measured with each.
        deviations: (P,) standard deviations of the measurements, above 0.
    """
    n, y, s = (np.asarray(column, float) for column in (sizes, accuracies, deviations))
    rate = np.geomspace(0.1, 2.0, RATES)
    last = np.clip(y[-1] + np.linspace(-WIDEST, WIDEST, LEVELS) * s[-1], 0, 1)
    above = np.linspace(0, 1, LIMITS)
    c, at_last, share = (grid.ravel() for grid in np.meshgrid(rate, last, above, indexing="ij"))
    a = at_last + share * (1 - at_last)  # from the accuracy at the last point up to 1
    b = (a - at_last) * n[-1] ** c
    misses = (a[:, None] - b[:, None] * n[None] ** -c[:, None] - y) / s  # (G, P)
    prior = -((np.log(c / RATE) / RATE_SPREAD) ** 2) / 2 + np.log(1 - at_last + 1e-3)  # uniform in a
    log_weight = prior - (misses**2).sum(1) / 2
    weight = np.exp(log_weight - log_weight.max())
    return Curves(a, b, c, weight / weight.sum())
