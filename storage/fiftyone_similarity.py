"""A project's own vectors as a similarity index of FiftyOne Brain: it keeps no copy, each question is asked of LanceDB.

FiftyOne finds these classes by their names, which it keeps in the dataset, and asks of a backend to be built of
subclasses of its own: `VectorsConfig` what it can, `Vectors` makes the index, `VectorsIndex` answers. The project is
the one that the dataset's `info` names, the vectors those of its newest space, so that what `gradebook embed` adds is
found from then on.

Shape legend    Q queries    D numbers a vector
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from fiftyone.brain.similarity import Similarity, SimilarityConfig, SimilarityIndex
from numpy.typing import NDArray

from gradebook.storage.fiftyone_samples import fiftyone_ids, ids_by_sample, read_samples

if TYPE_CHECKING:
    from gradebook.storage.vectors import Vectors as OurVectors

MOST = 1_000  # samples that one question is answered with


class VectorsConfig(SimilarityConfig):  # type: ignore[misc]
    """What the index can."""

    @property
    def method(self) -> str:
        """Its name."""
        return "gradebook"

    @property
    def max_k(self) -> int:
        """How many samples it answers with at most."""
        return MOST

    @property
    def supports_least_similarity(self) -> bool:
        """It only says what is most alike."""
        return False

    @property
    def supported_aggregations(self) -> tuple[str, ...]:
        """Of several samples it takes the mean direction."""
        return ("mean",)


class Vectors(Similarity):  # type: ignore[misc]
    """Makes the index."""

    def initialize(self, samples: Any, brain_key: str) -> "VectorsIndex":
        """See `fiftyone.brain.similarity.Similarity`."""
        return VectorsIndex(samples, self.config, brain_key, backend=self)


class VectorsIndex(SimilarityIndex):  # type: ignore[misc]
    """Answers from the project's vectors, as its parent in FiftyOne says; it cannot be added to or removed from."""

    @property
    def total_index_size(self) -> int:
        """How many samples have vectors."""
        vectors, backbone = self._vectors()
        return vectors.count(backbone)

    def add_to_index(self, *args: Any, **kwargs: Any) -> None:
        """Refuses: `gradebook embed` makes the vectors."""
        raise ValueError("the vectors are the project's: gradebook embed makes them")

    def remove_from_index(self, *args: Any, **kwargs: Any) -> None:
        """Refuses: the vectors are the project's."""
        raise ValueError("the vectors are the project's, and stay there")

    def cleanup(self) -> None:
        """Leaves the project's vectors where they are."""

    def get_embeddings(
        self,
        sample_ids: str | Sequence[str] | None = None,
        label_ids: None = None,
        allow_missing: bool = True,
        warn_missing: bool = False,
    ) -> tuple[NDArray[np.float32], NDArray[np.str_], None]:
        """Returns the vectors (N, D) of samples and their ids in FiftyOne; of all that have some unless told which."""
        asked = [sample_ids] if isinstance(sample_ids, str) else sample_ids
        ids = self.current_sample_ids if asked is None else asked
        vectors, backbone = self._vectors()
        known = set(vectors.ids(backbone))
        there = [seen for seen in read_samples(self._dataset(), list(ids)) if seen.sample_id in known]
        if not allow_missing and len(there) < len(ids):
            raise ValueError(f"{len(ids) - len(there)} of {len(ids)} samples have no vectors: gradebook embed")
        wide = vectors.read(backbone, [seen.sample_id for seen in there], views=1)[:, 0].astype(np.float32)
        return wide, np.array([seen.id for seen in there]), None

    def _kneighbors(
        self,
        query: Any = None,
        k: int | None = None,
        reverse: bool = False,
        aggregation: str | None = None,
        return_dists: bool = False,
    ) -> Any:
        """Returns the ids of the nearest, nearest first, `None` for labels, and their cosine distances if asked."""
        if query is None or reverse or aggregation not in (None, "mean"):
            raise ValueError("Gradebook's vectors say what is most like images or vectors, and nothing else")
        numbers = np.issubdtype(np.asarray(query).dtype, np.number)
        asked = np.atleast_2d(np.asarray(query, np.float32)) if numbers else self._directions(query)
        one = isinstance(query, str) or (numbers and np.ndim(query) == 1) or aggregation == "mean"
        found = [self._near(vector, k or MOST) for vector in ([asked.mean(0)] if one else asked)]
        ids, distances = ([[row[part] for row in rows] for rows in found] for part in (0, 1))
        answer = (ids[0], None, distances[0]) if one else (ids, None, distances)
        return answer if return_dists else answer[:2]

    def _directions(self, query: str | Sequence[str]) -> NDArray[np.float32]:
        """Returns the directions (Q, D) of samples, by their ids in FiftyOne."""
        ids = [query] if isinstance(query, str) else list(query)
        vectors, _, _ = self.get_embeddings(ids, allow_missing=False)
        return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))

    def _near(self, vector: NDArray[np.float32], k: int) -> list[tuple[str, float]]:
        """Returns id in FiftyOne and cosine distance of the samples of the view that are nearest to a vector (D,)."""
        vectors, backbone = self._vectors()
        names = ids_by_sample(self.view) if self.has_view else None
        found = dict(vectors.nearest_to(backbone, vector, min(k, MOST), names))
        if names is None:
            names = dict(zip(found, fiftyone_ids(self._dataset(), list(found)), strict=True))
        return [(names[sample_id], 1 - similarity) for sample_id, similarity in found.items()]

    def _vectors(self) -> tuple["OurVectors", str]:
        """Returns the project's vectors and the backbone of the newest."""
        from gradebook.storage.store import open_store

        vectors = open_store(Path(self._dataset().info["gradebook"])).vectors
        return vectors, vectors.spaces()[-1].backbone

    def _dataset(self) -> Any:
        return self.samples._root_dataset

    @classmethod
    def _from_dict(cls, d: Any, samples: Any, config: Any, brain_key: str) -> "VectorsIndex":
        return cls(samples, config, brain_key)
