"""The labelled images most similar to a sample, which are shown beside it while somebody decides.

Shape legend    N labelled samples    D of a vector
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from gradebook.storage.store import Store

UnitVectors = dict[str, NDArray[np.float32]]  # sample_id -> (D,) of length one, of samples that have vectors
MAX_COMPARED = 2_000  # labels, the newest ones: bounds time and memory


def backbone_of(store: "Store") -> str | None:
    """Returns the newest space of vectors, None where there is none."""
    spaces = store.vectors.spaces()
    return spaces[-1].backbone if spaces else None


def add_vectors(store: "Store", backbone: str, sample_ids: Sequence[str], vectors: UnitVectors) -> None:
    """Adds the vectors of samples that are not in `vectors` yet."""
    new = [i for i in dict.fromkeys(sample_ids) if i not in vectors]
    if not new:
        return
    missing = set(store.vectors.missing(backbone, new))
    there = [i for i in new if i not in missing]
    views = store.vectors.read(backbone, there)[:, 0].astype(np.float32)
    lengths = np.linalg.norm(views, axis=1, keepdims=True)
    units = np.divide(views, lengths, out=np.zeros_like(views), where=lengths > 0)
    vectors.update(zip(there, units, strict=True))


def most_like(sample_id: str, labels: Mapping[str, str], vectors: UnitVectors, k: int) -> list[tuple[str, float]]:
    """Returns the k labelled samples most like one and their cosine similarity in [-1, 1], most similar first.

    Args:
        sample_id: the sample.
        labels: sample_id -> label, the newest last; samples that are not in `vectors` are passed over.
        vectors: see `add_vectors`.
        k: how many.
    """
    others = [i for i in list(labels)[-MAX_COMPARED:] if i in vectors and i != sample_id]
    if sample_id not in vectors or not others:
        return []
    similar = np.stack([vectors[i] for i in others]) @ vectors[sample_id]
    best = np.argsort(-similar, kind="stable")[:k]
    return [(others[n], float(similar[n])) for n in best]
