"""Cold start: which samples to label before the first run, namely those that best represent the others."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from gradebook.storage.store import Store

MAX_SAMPLES = 10_000  # a random subset if there are more; bounds time and memory


def first_to_label(store: "Store", waiting: Sequence[str], decided: Sequence[str], limit: int) -> list[str]:
    """Returns samples in the order of a greedy facility location (`gradebook.mpl.facility_location`).

    The features are of the newest embedding space. Samples without an embedding come last, in the order of `waiting`.

    Args:
        store: the project.
        waiting: ids of the undecided samples.
        decided: ids of the decided training samples.
        limit: how many to return; all if there are fewer.
    """
    from gradebook.mpl.facility_location import cover

    spaces = store.vectors.spaces()
    if not spaces:
        return list(waiting[:limit])
    backbone, random = spaces[-1].backbone, np.random.default_rng(0)
    embedded = set(store.vectors.ids(backbone))
    candidates = [i for i in waiting if i in embedded]
    if not candidates:
        return list(waiting[:limit])
    candidates = [candidates[k] for k in np.sort(random.permutation(len(candidates))[:MAX_SAMPLES])]
    covered_by = [i for i in decided if i in embedded][:MAX_SAMPLES]
    features = store.vectors.read(backbone, [*candidates, *covered_by])[:, 0].astype(np.float32)
    n = len(candidates)
    first = [candidates[k] for k in cover(features[:n], features[n:], np.ones(n), limit, random)]
    taken = set(first)
    return [*first, *(i for i in waiting if i not in taken)][:limit]
