"""Label diffusion on a nearest-neighbour graph (Iscen et al., 2019, https://arxiv.org/abs/1904.04717, eq. 5 to 8).

Shape legend    N samples    d features    K classes    n labelled    k neighbours    F folds
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gradebook.mpl.gaussian_classifier import nearest

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]

NEIGHBOURS = 20  # k
POWER = 3  # of the cosine similarity
ALPHA = 0.8  # share of a sample's label that it gets from its neighbours
TERMS = 25  # of the series that solves (I - αS) Z = Y; the remainder is below 0.8^25 = 0.4 %
EPS = 1e-9


def neighbour_graph(x: Floats, k: int = NEIGHBOURS) -> "csr_matrix":
    """Returns S (N, N): the symmetrically normalised graph of the k most similar samples to each, by cosine."""
    from scipy.sparse import csr_matrix, diags

    n = len(x)
    neighbours, similarity = nearest(x, k)
    weights = np.maximum(similarity, 0) ** POWER
    rows = np.repeat(np.arange(n), neighbours.shape[1])
    graph = csr_matrix((weights.ravel(), (rows, neighbours.ravel())), (n, n))
    graph = graph + graph.T
    scale = diags(1 / np.sqrt(np.maximum(np.asarray(graph.sum(1)).ravel(), EPS)))
    return (scale @ graph @ scale).tocsr().astype(np.float32)


def influence(graph: "csr_matrix", labelled: Indices) -> Floats:
    """Returns (N, n): how much of each labelled sample's label reaches every sample, Σ_t (αS)^t of the unit vectors."""
    start = np.zeros((graph.shape[0], len(labelled)), np.float32)
    start[labelled, np.arange(len(labelled))] = 1
    return diffused(graph, start)


def diffused(graph: "csr_matrix", start: Floats) -> Floats:
    """Returns Σ_t (αS)^t of the columns (N, c) of `start`."""
    reached = start.copy()
    for _ in range(TERMS):
        reached = ALPHA * (graph @ reached) + start
    return reached


def diffused_probabilities(reached: Floats, y: Indices, classes: int) -> Floats:
    """Returns the distribution (N, K) of the labels that reach each sample, with classes weighted to one label each.

    Args:
        reached: (N, n), from `influence`, or some of its columns.
        y: (n,) class of each labelled sample.
        classes: K.
    """
    return _distributions(reached @ _class_weights(y, classes))


def diffused_folds(
    graph: "csr_matrix", labelled: Indices, in_training: NDArray[np.bool_], y: Indices, classes: int
) -> Floats:
    """Returns the distributions (F, N, K) of `diffused_probabilities` for F choices of the labels.

    The labels of a class diffuse together, so memory does not grow with their number.

    Args:
        graph: S (N, N), from `neighbour_graph`.
        labelled: (n,) rows with a label.
        in_training: (F, n) the labels of each choice.
        y: (n,) class of each labelled sample.
        classes: K.
    """
    start = np.zeros((graph.shape[0], len(in_training), classes), np.float32)
    for fold, mask in enumerate(in_training):
        start[labelled[mask], fold] = _class_weights(y[mask], classes)
    mass = diffused(graph, start.reshape(len(start), -1)).reshape(start.shape)
    return np.stack([_distributions(mass[:, fold]) for fold in range(len(in_training))])


def _class_weights(y: Indices, classes: int) -> Floats:
    """Returns the weight (n, K) of each label, so that every class has the weight of one label."""
    one_hot = np.eye(classes, dtype=np.float32)[y]
    return np.asarray(one_hot / np.maximum(one_hot.sum(0), 1), np.float32)


def _distributions(mass: Floats) -> Floats:
    mass = mass + np.float32(EPS)
    return np.asarray(mass / mass.sum(1, keepdims=True), np.float32)
