"""Which labelled images a sample looks most like: shown beside it while somebody decides.

Shape legend    N labelled samples    D of a vector
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from gradebook.storage.store import Store

Looks = dict[str, NDArray[np.float32]]  # sample_id -> (D,) of length one; no sample without vectors is in it
COMPARED = 2_000  # labels, the last ones given: bounds time and memory


def backbone_of(store: "Store") -> str | None:
    """Returns the newest space of vectors, None where there is none."""
    spaces = store.vectors.spaces()
    return spaces[-1].backbone if spaces else None


def remember(store: "Store", backbone: str, sample_ids: Sequence[str], looks: Looks) -> None:
    """Adds the looks of those samples that have vectors and are not in `looks` yet."""
    new = [i for i in dict.fromkeys(sample_ids) if i not in looks]
    if not new:
        return
    missing = set(store.vectors.missing(backbone, new))
    there = [i for i in new if i not in missing]
    views = store.vectors.read(backbone, there)[:, 0].astype(np.float32)
    lengths = np.linalg.norm(views, axis=1, keepdims=True)
    units = np.divide(views, lengths, out=np.zeros_like(views), where=lengths > 0)
    looks.update(zip(there, units, strict=True))


def most_like(sample_id: str, labels: Mapping[str, str], looks: Looks, k: int) -> list[tuple[str, float]]:
    """Returns the k labelled samples most like one and their cosine similarity in [-1, 1], most similar first.

    Args:
        sample_id: the sample.
        labels: sample_id -> label, the newest last; samples that are not in `looks` are passed over.
        looks: see `remember`.
        k: how many.
    """
    others = [i for i in list(labels)[-COMPARED:] if i in looks and i != sample_id]
    if sample_id not in looks or not others:
        return []
    similar = np.stack([looks[i] for i in others]) @ looks[sample_id]
    best = np.argsort(-similar, kind="stable")[:k]
    return [(others[n], float(similar[n])) for n in best]
