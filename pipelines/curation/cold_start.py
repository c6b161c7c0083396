"""Which samples to label first, when no run has an opinion yet: those that stand for most of the others."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from gradebook.storage.store import Store

LOOKED_AT = 10_000  # samples at most, drawn where there are more: bounds time and memory


def first_to_label(store: "Store", waiting: Sequence[str], seen: Sequence[str], limit: int) -> list[str]:
    """Returns waiting samples by what each stands for beside those that are decided
    (`gradebook.mpl.facility_location`).

    The vectors are those of the newest backbone; samples without vectors come last, as they stand in `waiting`.

    Args:
        store: the project.
        waiting: sample ids to choose from.
        seen: training samples that stand for their kind already.
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
    some = [known[k] for k in np.sort(random.permutation(len(known))[:LOOKED_AT])]
    beside = [i for i in seen if i in there][:LOOKED_AT]
    views = store.vectors.read(backbone, [*some, *beside])[:, 0].astype(np.float32)
    chosen = cover(views[: len(some)], views[len(some) :], np.ones(len(some)), limit, random)
    first = [some[k] for k in chosen]
    taken = set(first)
    return [*first, *(i for i in waiting if i not in taken)][:limit]
