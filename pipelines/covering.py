"""A batch for a reviewer: what stands for most of the doubt that the labels have left (`mpl.strategies.cover`)."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines.readings import predictions, reading
from pipelines.runs import Run

if TYPE_CHECKING:
    from pipelines.evidence import Known
    from storage.store import Store


def covering(
    store: "Store", run: Run, found: "Known", doubt: NDArray[np.float64], limit: int
) -> NDArray[np.int64] | None:
    """Returns places in `found` of at most `limit` samples, first ones first; None where samples have no vectors.

    Of near-duplicates only the most doubtful can be chosen.

    Args:
        store: the project.
        run: the finished run.
        found: what is known of the samples to choose from.
        doubt: (N,) of each of them; below 0 counts as 0.
        limit: how many to choose.
    """
    from mpl.ranking import one_of_each, rank
    from mpl.strategies import cover

    read = reading(store, run, predictions(run))
    if read is None or found.space is None:
        return None
    some = one_of_each(rank(doubt), found.groups)
    seen = read.space[~np.isin(read.sample_ids, np.array(found.sample_ids))].astype(np.float32)
    weights = np.maximum(doubt[some], 0)
    return np.asarray(some[cover(found.space[some], seen, weights, limit, np.random.default_rng(0))], np.int64)
