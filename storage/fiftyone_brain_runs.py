"""What FiftyOne Brain is told of a project: that its vectors can be asked, and where its samples lie on the map.

With these its App sorts by similarity and has an Embeddings panel. Neither is a copy of a vector: the first is a name
(`gradebook.storage.fiftyone_similarity`), the second two numbers a sample.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradebook.storage.fiftyone_samples import ids_by_sample

VECTORS, MAP = "gradebook_vectors", "gradebook_map"  # the keys of the brain runs


def register_similarity(dataset: Any, *, there: bool) -> None:
    """Lets FiftyOne ask a project's vectors what is like what, where it has some.

    Args:
        dataset: the project's.
        there: whether the project has vectors.
    """
    import fiftyone.brain as fob

    from gradebook.storage.fiftyone_similarity import VectorsConfig

    known = dataset.has_brain_run(VECTORS)
    if known and not there:
        dataset.delete_brain_run(VECTORS)
    if there and not known:
        fob.compute_similarity(dataset, backend=VectorsConfig, embeddings=False, brain_key=VECTORS)


def register_map(dataset: Any, sample_ids: Sequence[str], places: NDArray[np.uint16], made_of: str) -> None:
    """Gives the Embeddings panel the places of samples on the project's map, unless it has them.

    Args:
        dataset: the project's.
        sample_ids: N samples; those that the dataset lacks are left out.
        places: (N, 2), downwards as on a page.
        made_of: says which map it is.
    """
    import fiftyone.brain as fob

    names = ids_by_sample(dataset)
    here = [(row, names[sample_id]) for row, sample_id in enumerate(sample_ids) if sample_id in names]
    drawn = hashlib.blake2b(" ".join([made_of, *(name for _, name in here)]).encode(), digest_size=8).hexdigest()
    if dataset.has_brain_run(MAP):
        if dataset.get_brain_info(MAP).config.drawn == drawn:
            return
        dataset.delete_brain_run(MAP)
    if here:
        upwards = np.stack([places[:, 0], places[:, 1].max() - places[:, 1]], axis=1).astype(np.float32)
        points = {name: upwards[row] for row, name in here}
        fob.compute_visualization(dataset, points=points, brain_key=MAP, drawn=drawn)
