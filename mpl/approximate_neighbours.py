"""Approximate nearest neighbours of all samples at once, by an inverted file index.

Cells come from a few rounds of spherical k-means. All samples of a cell are compared with those of the nearest cells in
one matrix product, which is faster than an index that is queried for one sample at a time.

Shape legend    N samples    d features    C cells    k neighbours
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

CELL_SIZE = 500  # samples in a cell, on average
PROBES = 32  # nearest cells with which the samples of a cell are compared, its own included
SAMPLES_PER_CELL = 32  # for k-means
KMEANS_ROUNDS = 8
BLOCK_ROWS = 1024  # samples compared at once
EPS = 1e-12


def approximate_nearest(unit: Floats, k: int) -> tuple[NDArray[np.int32], Floats]:
    """Returns the approximate k nearest neighbours of every sample and their cosine similarity, (N, k) each, sorted.

    Takes N · PROBES · CELL_SIZE · d operations: a million samples in minutes. docs/log.md has its recall.

    Args:
        unit: (N, d) unit vectors, N > k.
        k: at least 1.
    """
    n = len(unit)
    centres = _centres(unit, max(n // CELL_SIZE, 1))
    cell = _cells(unit, centres)
    order = np.argsort(cell, kind="stable")
    ends = np.searchsorted(cell[order], np.arange(len(centres) + 1))
    members = [order[ends[c] : ends[c + 1]] for c in range(len(centres))]
    sizes = np.diff(ends)
    indices, similarity = np.empty((n, k), np.int32), np.empty((n, k), np.float32)
    for c, own in enumerate(members):
        if len(own):
            near = np.argsort(-(centres @ centres[c]), kind="stable")
            probes = max(PROBES, int(np.searchsorted(np.cumsum(sizes[near]), k + 1)) + 1)  # with at least k others
            others = np.sort(np.concatenate([members[other] for other in near[:probes]]))
            for start in range(0, len(own), BLOCK_ROWS):
                rows = own[start : start + BLOCK_ROWS]
                indices[rows], similarity[rows] = _best(unit, rows, others, k)
    return indices, np.clip(similarity, -1, 1)


def _best(
    unit: Floats, rows: NDArray[np.int64], others: NDArray[np.int64], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    block = unit[rows] @ unit[others].T
    block[others[None] == rows[:, None]] = -np.inf  # itself
    some = np.argpartition(-block, k - 1, axis=1)[:, :k]
    values = np.take_along_axis(block, some, 1)
    best = np.lexsort((some, -values), axis=1)
    return others[np.take_along_axis(some, best, 1)], np.take_along_axis(values, best, 1)


def _centres(unit: Floats, cells: int) -> Floats:
    """Returns the centres (C, d), unit vectors."""
    random = np.random.default_rng(0)
    some = unit[random.permutation(len(unit))[: SAMPLES_PER_CELL * cells]]
    centres = some[:cells]
    for _ in range(KMEANS_ROUNDS):
        cell = _cells(some, centres)
        order = np.argsort(cell, kind="stable")
        filled, first = np.unique(cell[order], return_index=True)
        centres = centres.copy()
        centres[filled] = np.add.reduceat(some[order], first, axis=0)
        centres /= np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), EPS)
    return np.asarray(centres, np.float32)


def _cells(unit: Floats, centres: Floats) -> NDArray[np.int64]:
    """Returns each row's nearest centre (N,)."""
    parts = [(unit[start : start + BLOCK_ROWS] @ centres.T).argmax(1) for start in range(0, len(unit), BLOCK_ROWS)]
    return np.concatenate(parts)
