"""Which samples to label first, before any run: those that represent most of the others."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from gradebook.storage.store import Store

MAX_SAMPLES = 10_000  # drawn where there are more, to bound time and memory


def first_to_label(store: "Store", waiting: Sequence[str], seen: Sequence[str], limit: int) -> list[str]:
    """Returns waiting samples by how much each represents that no decided one does (`gradebook.mpl.facility_location`).

    The vectors are those of the newest backbone. Samples without vectors come last, in the order of `waiting`.

    Args:
        store: the project.
        waiting: sample ids to choose from.
        seen: training samples that are decided.
        limit: how many to return; all where there are fewer.
    """
    from gradebook.mpl.facility_location import cover

    spaces = store.vectors.spaces()
    if not spaces:
        return list(waiting[:limit])
    backbone, random = spaces[-1].backbone, np.random.default_rng(0)
    there = set(store.vectors.ids(backbone))
    known = [i for i in waiting if i in there]
    if not known:
        return list(waiting[:limit])
    some = [known[k] for k in np.sort(random.permutation(len(known))[:MAX_SAMPLES])]
    beside = [i for i in seen if i in there][:MAX_SAMPLES]
    views = store.vectors.read(backbone, [*some, *beside])[:, 0].astype(np.float32)
    chosen = cover(views[: len(some)], views[len(some) :], np.ones(len(some)), limit, random)
    first = [some[k] for k in chosen]
    taken = set(first)
    return [*first, *(i for i in waiting if i not in taken)][:limit]
