"""The pooled classifier fitted again and again, to labels that come in one by one.

What no label changes is computed once: the feature spaces and their neighbour graphs. How far one label reaches in a
graph does not depend on the other labels, so it is computed once for each label, as long as the results fit into
`MAX_BYTES`. With more labels, those of a class diffuse together, again in each fit, which takes no more memory.

Shape legend    N samples    D features    K classes    n labelled    M samples with views    V views
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gradebook.mpl.feature_spaces import AugmentedViews, feature_spaces
from gradebook.mpl.label_diffusion import diffused_folds, influence, neighbour_graph
from gradebook.mpl.opinion_pool import Indices
from gradebook.mpl.pooled_classifier import (
    Floats,
    Masks,
    Member,
    PooledClassifier,
    diffusion_member,
    diffusion_spaces,
    fit_pool,
    own_members,
)

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

MAX_BYTES = 128 * 2**20  # remembered of each graph; a fit needs as much again

ViewsOf = Callable[[Indices], NDArray[np.floating] | None]  # rows (n,) -> features of their views (n, V, D)


class WarmPool:
    """Fits a `PooledClassifier` to changing labels of the same samples."""

    def __init__(self, features: NDArray[np.floating], viewed: Indices, views_of: ViewsOf, *, seed: int = 0):
        """Computes what no label changes, in N² d operations.

        Args:
            features: (N, D) of the images without augmentation.
            viewed: (M,) rows whose views estimate the effect of augmentation; a few hundred random ones.
            views_of: returns the views of rows, None where there are none.
            seed: of the folds.
        """
        views = views_of(viewed)
        augmented = None if views is None else AugmentedViews(views, viewed)
        self._spaces = feature_spaces(features, np.empty(0, np.int64), augmented)
        self._diffusions = [_Diffusion(x) for x in diffusion_spaces(self._spaces)]
        self._views_of, self._seed = views_of, seed

    def fit(self, labels: Indices, classes: int, *, excluded: Indices, fixed: Mapping[str, Floats]) -> PooledClassifier:
        """Fits the classifier.

        Args:
            labels: (N,) class, -1 for none; at least two classes have one.
            classes: K.
            excluded: rows from which nothing is learned, such as images to which no class applies.
            fixed: opinions (N, K) of members that are not cross-validated, see `fit_pool`.

        Returns:
            The classifier; its `probabilities` are those of the rows that are not excluded.
        """
        labelled = np.flatnonzero(labels >= 0)
        views = None if self._spaces.whitened is None else self._views_of(labelled)
        labelled_views = None if views is None else self._spaces.whiten(views)
        diffusions = [diffusion.member(labelled) for diffusion in self._diffusions]
        members = own_members(self._spaces, labelled, labelled_views, diffusions, warm=True)
        rows = np.setdiff1d(np.arange(len(labels)), excluded)
        return fit_pool(
            replace(self._spaces, plain=self._spaces.plain[rows]) if len(excluded) else self._spaces,
            np.searchsorted(rows, labelled),
            labels[labelled],
            classes,
            {name: _of_rows(member, rows) for name, member in members.items()} if len(excluded) else members,
            fixed={name: opinions[rows] for name, opinions in fixed.items()},
            seed=self._seed,
        )


@dataclass(slots=True)
class _Diffusion:
    """The neighbour graph of one space, and how much of each label reaches every sample."""

    x: Floats  # (N, d)
    _graph: "csr_matrix" = field(init=False)
    _columns: dict[int, Floats] = field(init=False, default_factory=dict)  # labelled row -> (N,)

    def __post_init__(self) -> None:
        self._graph = neighbour_graph(self.x)

    def member(self, labelled: Indices) -> Member:
        """Returns the member of the pool for these labelled rows (n,)."""
        if len(labelled) * len(self.x) * np.dtype(np.float32).itemsize <= MAX_BYTES:
            return diffusion_member(self._reached(labelled))
        self._columns = {}
        return lambda in_training, y, classes: diffused_folds(self._graph, labelled, in_training, y, classes)

    def _reached(self, labelled: Indices) -> Floats:
        """Returns (N, n), as `gradebook.mpl.label_diffusion.influence` does; computes the new labels' columns alone."""
        rows = labelled.tolist()
        new = [row for row in rows if row not in self._columns]
        columns = influence(self._graph, np.array(new, np.int64)) if new else np.empty((len(self.x), 0), np.float32)
        known = self._columns | {row: np.ascontiguousarray(columns[:, k]) for k, row in enumerate(new)}
        self._columns = {row: known[row] for row in rows}  # without those of withdrawn labels
        return np.stack([self._columns[row] for row in rows], axis=1)


def _of_rows(member: Member, rows: Indices) -> Member:
    """Returns a member that gives its opinions of some rows alone."""

    def opinions(in_training: Masks, y: Indices, classes: int) -> NDArray[np.floating]:
        return member(in_training, y, classes)[:, rows]

    return opinions
