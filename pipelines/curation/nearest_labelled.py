"""The labelled images most similar to a sample, which the review page shows next to it.

Shape legend    D features
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from gradebook.storage.store import Store

UnitVectors = dict[str, NDArray[np.float32]]  # sample_id -> features (D,) of length one
MAX_COMPARED = 2_000  # the newest labels are compared; bounds time and memory


def backbone_of(store: "Store") -> str | None:
    """Returns the backbone of the newest embedding space, None if there is none."""
    spaces = store.vectors.spaces()
    return spaces[-1].backbone if spaces else None


def add_vectors(store: "Store", backbone: str, sample_ids: Sequence[str], vectors: UnitVectors) -> None:
    """Adds the vectors of the samples that are not in `vectors` yet; samples without an embedding are left out."""
    new = [i for i in dict.fromkeys(sample_ids) if i not in vectors]
    if not new:
        return
    missing = set(store.vectors.missing(backbone, new))
    embedded = [i for i in new if i not in missing]
    features = store.vectors.read(backbone, embedded)[:, 0].astype(np.float32)
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    units = np.divide(features, lengths, out=np.zeros_like(features), where=lengths > 0)
    vectors.update(zip(embedded, units, strict=True))


def most_similar(sample_id: str, labels: Mapping[str, str], vectors: UnitVectors, k: int) -> list[tuple[str, float]]:
    """Returns the k labelled samples most similar to a sample with their cosine similarity, most similar first.

    Args:
        sample_id: the sample.
        labels: sample_id -> label, the newest last; samples that are not in `vectors` are skipped.
        vectors: see `add_vectors`.
        k: how many.
    """
    compared = [i for i in list(labels)[-MAX_COMPARED:] if i in vectors and i != sample_id]
    if sample_id not in vectors or not compared:
        return []
    similar = np.stack([vectors[i] for i in compared]) @ vectors[sample_id]
    best = np.argsort(-similar, kind="stable")[:k]
    return [(compared[n], float(similar[n])) for n in best]
