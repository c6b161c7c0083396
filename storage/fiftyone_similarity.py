"""A project's embeddings as a similarity index of FiftyOne Brain. Queries go to LanceDB; nothing is copied.

FiftyOne requires a backend to subclass its own classes, and stores their names in the dataset: `VectorsConfig`
declares capabilities, `Vectors` creates the index, `VectorsIndex` answers queries. The dataset's `info` names the
project. The vectors are those of its newest embedding space, so new embeddings are found at once.

Shape legend    Q queries    D dimensions of a vector
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

MAX_K = 1_000  # samples that a query returns


class VectorsConfig(SimilarityConfig):  # type: ignore[misc]
    """The capabilities of the index."""

    @property
    def method(self) -> str:
        """The name of the backend."""
        return "gradebook"

    @property
    def max_k(self) -> int:
        """The largest number of samples that a query returns."""
        return MAX_K

    @property
    def supports_least_similarity(self) -> bool:
        """False: only the most similar samples can be found."""
        return False

    @property
    def supported_aggregations(self) -> tuple[str, ...]:
        """A query of several samples can use their mean direction."""
        return ("mean",)


class Vectors(Similarity):  # type: ignore[misc]
    """Creates the index."""

    def initialize(self, samples: Any, brain_key: str) -> "VectorsIndex":
        """See `fiftyone.brain.similarity.Similarity`."""
        return VectorsIndex(samples, self.config, brain_key, backend=self)


class VectorsIndex(SimilarityIndex):  # type: ignore[misc]
    """A read-only index of the project's vectors."""

    @property
    def total_index_size(self) -> int:
        """The number of samples with vectors."""
        vectors, backbone = self._vectors()
        return vectors.count(backbone)

    def add_to_index(self, *args: Any, **kwargs: Any) -> None:
        """Raises ValueError: only `gradebook embed` adds vectors."""
        raise ValueError("the vectors belong to the project: add them with gradebook embed")

    def remove_from_index(self, *args: Any, **kwargs: Any) -> None:
        """Raises ValueError: the vectors belong to the project."""
        raise ValueError("the vectors belong to the project: they cannot be removed here")

    def cleanup(self) -> None:
        """Does nothing: the vectors belong to the project."""

    def get_embeddings(
        self,
        sample_ids: str | Sequence[str] | None = None,
        label_ids: None = None,
        allow_missing: bool = True,
        warn_missing: bool = False,
    ) -> tuple[NDArray[np.float32], NDArray[np.str_], None]:
        """Returns the vectors (N, D) of samples, by default of all that have some, and their ids in FiftyOne."""
        requested = [sample_ids] if isinstance(sample_ids, str) else sample_ids
        ids = self.current_sample_ids if requested is None else requested
        vectors, backbone = self._vectors()
        known = set(vectors.ids(backbone))
        samples = [sample for sample in read_samples(self._dataset(), list(ids)) if sample.sample_id in known]
        if not allow_missing and len(samples) < len(ids):
            raise ValueError(f"{len(ids) - len(samples)} of {len(ids)} samples have no vectors: run gradebook embed")
        embeddings = vectors.read(backbone, [sample.sample_id for sample in samples], views=1)[:, 0].astype(np.float32)
        return embeddings, np.array([sample.id for sample in samples]), None

    def _kneighbors(
        self,
        query: Any = None,
        k: int | None = None,
        reverse: bool = False,
        aggregation: str | None = None,
        return_dists: bool = False,
    ) -> Any:
        """Returns the ids of the nearest samples, `None` for labels, and the cosine distances if requested."""
        if query is None or reverse or aggregation not in (None, "mean"):
            raise ValueError(
                "Gradebook's index only finds the samples most similar to images or vectors: choose such a query"
            )
        is_vector = np.issubdtype(np.asarray(query).dtype, np.number)
        queries = np.atleast_2d(np.asarray(query, np.float32)) if is_vector else self._directions(query)
        single = isinstance(query, str) or (is_vector and np.ndim(query) == 1) or aggregation == "mean"
        results = [self._near(vector, k or MAX_K) for vector in ([queries.mean(0)] if single else queries)]
        ids, distances = ([[row[part] for row in rows] for rows in results] for part in (0, 1))
        answer = (ids[0], None, distances[0]) if single else (ids, None, distances)
        return answer if return_dists else answer[:2]

    def _directions(self, query: str | Sequence[str]) -> NDArray[np.float32]:
        """Returns the directions (Q, D) of samples, by their ids in FiftyOne."""
        ids = [query] if isinstance(query, str) else list(query)
        vectors, _, _ = self.get_embeddings(ids, allow_missing=False)
        return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))

    def _near(self, vector: NDArray[np.float32], k: int) -> list[tuple[str, float]]:
        """Returns the ids in FiftyOne and cosine distances of the samples of the view nearest to a vector (D,)."""
        vectors, backbone = self._vectors()
        names = ids_by_sample(self.view) if self.has_view else None
        similarities = dict(vectors.nearest_to(backbone, vector, min(k, MAX_K), names))
        if names is None:
            names = dict(zip(similarities, fiftyone_ids(self._dataset(), list(similarities)), strict=True))
        return [(names[sample_id], 1 - similarity) for sample_id, similarity in similarities.items()]

    def _vectors(self) -> tuple["OurVectors", str]:
        """Returns the project's vectors and the backbone of the newest space."""
        from gradebook.storage.store import open_store

        vectors = open_store(Path(self._dataset().info["gradebook"])).vectors
        return vectors, vectors.spaces()[-1].backbone

    def _dataset(self) -> Any:
        return self.samples._root_dataset

    @classmethod
    def _from_dict(cls, d: Any, samples: Any, config: Any, brain_key: str) -> "VectorsIndex":
        return cls(samples, config, brain_key)
