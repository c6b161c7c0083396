"""A batch for a reviewer: what stands for most of the doubt that the labels have left (`mpl.strategies.cover`)."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pipelines.evidence import Known


def covering(found: "Known", doubt: NDArray[np.float64], limit: int) -> NDArray[np.int64] | None:
    """Returns places in `found` of at most `limit` samples, first ones first; None where samples have no vectors.

    Of near-duplicates only the most doubtful can be chosen.

    Args:
        found: what is known of the samples to choose from, and which stand for their kind already.
        doubt: (N,) of each of them; below 0 counts as 0.
        limit: how many to choose.
    """
    from mpl.ranking import one_of_each, rank
    from mpl.strategies import cover

    if found.beside is None or found.space is None:
        return None
    some = one_of_each(rank(doubt), found.groups)
    weights = np.maximum(doubt[some], 0)
    chosen = cover(found.space[some], found.beside, weights, limit, np.random.default_rng(0))
    return np.asarray(some[chosen], np.int64)
