"""Vectors: the features of each sample's views under a frozen backbone, computed once.

View 0 is the plain image. The augmented views may be added later, or only for some samples.

Shape legend    N samples    V views of a sample, weak ones first    D features of a view
"""

from collections.abc import Collection, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gradebook.storage.embedding_spaces import Space as Space
from gradebook.storage.embedding_spaces import find_space, is_new
from gradebook.storage.project import ProjectError

Views = NDArray[np.float16]


class Vectors(Protocol):
    """The interface of vector stores. The vectors of a sample never change once they are added."""

    def spaces(self) -> list[Space]:
        """Returns the embedding spaces in the order in which they were created."""

    def create(self, space: Space) -> None:
        """Creates the space of a backbone.

        Raises:
            ProjectError: the backbone has another space.
        """

    def add(self, backbone: str, sample_ids: Sequence[str], views: Views) -> None:
        """Adds all views (N, V, D) of N samples, or only the plain ones (N, 1, D). Existing views are not changed.

        Raises:
            ValueError: the shape or type does not fit the space, or a value is not finite.
            ProjectError: the backbone has no space.
        """

    def add_augmented(self, backbone: str, sample_ids: Sequence[str], views: Views) -> None:
        """Adds the augmented views (N, V - 1, D); raises as `add`."""

    def missing(self, backbone: str, sample_ids: Sequence[str]) -> list[str]:
        """Returns the samples that have no vectors, in the order given."""

    def missing_augmented(self, backbone: str, sample_ids: Sequence[str]) -> list[str]:
        """Returns the samples that lack augmented views, in the order given; [] in a space without augmented views."""

    def ids(self, backbone: str) -> list[str]:
        """Returns the ids of the samples that have vectors, in the order in which they were added."""

    def read(self, backbone: str, sample_ids: Sequence[str], views: int | None = None) -> Views:
        """Returns the first `views` views of each sample (N, V, D), in the order of `sample_ids`.

        With `views=None` all views are returned, or only the plain ones if any sample lacks augmented views.

        Raises:
            ProjectError: a sample lacks these views, or the backbone has no space.
        """

    def nearest(
        self, backbone: str, sample_id: str, k: int, among: Collection[str] | None = None
    ) -> list[tuple[str, float]]:
        """Returns the `k` samples most similar to this one and their cosine similarity, most similar first.

        The plain views are compared. The sample itself and vectors that are all zero are left out. Among many thousand
        samples the search is approximate (`gradebook.storage.vector_index`).
        """

    def nearest_to(
        self, backbone: str, vector: NDArray[np.floating], k: int, among: Collection[str] | None = None
    ) -> list[tuple[str, float]]:
        """Returns the same as `nearest` for any vector (D,); no sample is left out."""

    def update_index(self, backbone: str) -> None:
        """Updates the search index after additions. Does nothing for a backbone without vectors."""

    def count(self, backbone: str) -> int:
        """Returns the number of samples that have vectors."""


class MemoryVectors:
    """Vectors in memory."""

    def __init__(self) -> None:
        self._spaces: dict[str, Space] = {}
        self._plain: dict[str, dict[str, Views]] = {}  # backbone -> sample_id -> (1, D)
        self._augmented: dict[str, dict[str, Views]] = {}  # backbone -> sample_id -> (V - 1, D)

    def spaces(self) -> list[Space]:
        """See `Vectors.spaces`."""
        return list(self._spaces.values())

    def create(self, space: Space) -> None:
        """See `Vectors.create`."""
        if is_new(self.spaces(), space):
            self._spaces[space.backbone] = space
            self._plain[space.backbone], self._augmented[space.backbone] = {}, {}

    def add(self, backbone: str, sample_ids: Sequence[str], views: Views) -> None:
        """See `Vectors.add`."""
        space = find_space(self.spaces(), backbone)
        check_views(space, sample_ids, views, (1, space.weak + space.strong))
        for sample_id, view in zip(sample_ids, views, strict=True):
            self._plain[backbone].setdefault(sample_id, view[:1].copy())
        if views.shape[1] > 1:
            self.add_augmented(backbone, sample_ids, views[:, 1:])

    def add_augmented(self, backbone: str, sample_ids: Sequence[str], views: Views) -> None:
        """See `Vectors.add_augmented`."""
        space = find_space(self.spaces(), backbone)
        check_views(space, sample_ids, views, (space.weak + space.strong - 1,))
        for sample_id, view in zip(sample_ids, views, strict=True):
            self._augmented[backbone].setdefault(sample_id, view.copy())

    def missing(self, backbone: str, sample_ids: Sequence[str]) -> list[str]:
        """See `Vectors.missing`."""
        find_space(self.spaces(), backbone)
        return [sample_id for sample_id in sample_ids if sample_id not in self._plain[backbone]]

    def missing_augmented(self, backbone: str, sample_ids: Sequence[str]) -> list[str]:
        """See `Vectors.missing_augmented`."""
        space = find_space(self.spaces(), backbone)
        if space.weak + space.strong == 1:
            return []
        return [sample_id for sample_id in sample_ids if sample_id not in self._augmented[backbone]]

    def ids(self, backbone: str) -> list[str]:
        """See `Vectors.ids`."""
        return list(self._plain.get(backbone, {}))

    def read(self, backbone: str, sample_ids: Sequence[str], views: int | None = None) -> Views:
        """See `Vectors.read`."""
        space = find_space(self.spaces(), backbone)
        count = views or (1 if self.missing_augmented(backbone, sample_ids) else space.weak + space.strong)
        out = np.empty((len(sample_ids), count, space.dim), np.float16)
        for row, sample_id in enumerate(sample_ids):
            plain, augmented = self._plain[backbone].get(sample_id), self._augmented[backbone].get(sample_id)
            if plain is None or (augmented is None and count > 1):
                raise no_vectors(backbone, sample_id)
            out[row] = plain if augmented is None else np.concatenate([plain, augmented])[:count]
        return out

    def nearest(
        self, backbone: str, sample_id: str, k: int, among: Collection[str] | None = None
    ) -> list[tuple[str, float]]:
        """See `Vectors.nearest`."""
        others = set(self._plain[backbone] if among is None else among) - {sample_id}
        return self.nearest_to(backbone, self.read(backbone, [sample_id], views=1)[0, 0], k, others)

    def nearest_to(
        self, backbone: str, vector: NDArray[np.floating], k: int, among: Collection[str] | None = None
    ) -> list[tuple[str, float]]:
        """See `Vectors.nearest_to`."""
        if not np.any(vector):
            return []
        query, plain = vector.astype(np.float32), self._plain[backbone]
        candidates = plain.keys() if among is None else set(among) & plain.keys()
        scores = {other: _cosine(query, plain[other][0]) for other in candidates}
        ranked = sorted((-score, other) for other, score in scores.items() if score is not None)
        return [(other, -score) for score, other in ranked[:k]]

    def update_index(self, backbone: str) -> None:
        """See `Vectors.update_index`."""

    def count(self, backbone: str) -> int:
        """See `Vectors.count`."""
        return len(self._plain.get(backbone, {}))


def check_views(space: Space, sample_ids: Sequence[str], views: Views, counts: Collection[int]) -> None:
    """Raises ValueError unless `views` are float16, finite, of shape (N, V, D), and V is one of `counts`."""
    allowed = [(len(sample_ids), count, space.dim) for count in counts]
    if views.dtype != np.float16 or views.shape not in allowed:
        wanted = " or ".join(str(shape) for shape in allowed)
        raise ValueError(f"views are {views.dtype} {views.shape}, {space.backbone} takes float16 {wanted}")
    if not np.isfinite(views).all():
        raise ValueError(f"{space.backbone} gave vectors that are not finite: they may overflow float16, scale them")


def no_vectors(backbone: str, sample_id: str) -> ProjectError:
    """Returns the error for a sample that lacks the requested views."""
    return ProjectError(f"sample {sample_id} has no vectors of {backbone}: gradebook embed --backbone {backbone}")


def _cosine(query: NDArray[np.float32], other: Views) -> float | None:
    norms = float(np.linalg.norm(query) * np.linalg.norm(other.astype(np.float32)))
    return float(query @ other.astype(np.float32)) / norms if norms > 0 else None
