"""The brain runs of a project's FiftyOne dataset: a similarity index, and the coordinates of the map.

With these, FiftyOne's App sorts by similarity and has an Embeddings panel. No vector is copied: the index asks the
project (`gradebook.storage.fiftyone_similarity`), and the panel gets two numbers per sample.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradebook.storage.fiftyone_samples import ids_by_sample

VECTORS, MAP = "gradebook_vectors", "gradebook_map"  # the keys of the brain runs


def register_similarity(dataset: Any, *, embedded: bool) -> None:
    """Registers the similarity index of an embedded project, and removes it from a project without embeddings.

    Args:
        dataset: the project's.
        embedded: whether the project has embeddings.
    """
    import fiftyone.brain as fob

    from gradebook.storage.fiftyone_similarity import VectorsConfig

    registered = dataset.has_brain_run(VECTORS)
    if registered and not embedded:
        dataset.delete_brain_run(VECTORS)
    if embedded and not registered:
        fob.compute_similarity(dataset, backend=VectorsConfig, embeddings=False, brain_key=VECTORS)


def register_map(dataset: Any, sample_ids: Sequence[str], xy: NDArray[np.uint16], fingerprint: str) -> None:
    """Gives the Embeddings panel the coordinates of samples on the project's map, unless it has them.

    Args:
        dataset: the project's.
        sample_ids: N samples; those that are not in the dataset are left out.
        xy: (N, 2), y pointing downwards.
        fingerprint: of the map.
    """
    import fiftyone.brain as fob

    names = ids_by_sample(dataset)
    present = [(row, names[sample_id]) for row, sample_id in enumerate(sample_ids) if sample_id in names]
    parts = [fingerprint, *(name for _, name in present)]
    digest = hashlib.blake2b(" ".join(parts).encode(), digest_size=8).hexdigest()
    if dataset.has_brain_run(MAP):
        if dataset.get_brain_info(MAP).config.drawn == digest:  # `drawn` is its name in FiftyOne's database
            return
        dataset.delete_brain_run(MAP)
    if present:
        upwards = np.stack([xy[:, 0], xy[:, 1].max() - xy[:, 1]], axis=1).astype(np.float32)
        points = {name: upwards[row] for row, name in present}
        fob.compute_visualization(dataset, points=points, brain_key=MAP, drawn=digest)
