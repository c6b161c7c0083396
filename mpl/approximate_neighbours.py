"""Nearest neighbours of very many samples at once: each is compared with those of the cells around its own.

Cells are found by a few rounds of k-means on the sphere, as in an inverted file index; all samples of a cell are
compared in one product, which no index that answers one question at a time can do.

Shape legend    N samples    d of the space    C cells    k neighbours
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

CELL = 500  # samples a cell, on average
AROUND = 32  # cells that a cell's samples are compared with, its own among them
DRAWN = 32  # samples a cell that the centres are found from
ROUNDS = 8
BLOCK = 1024  # rows at once
TINY = 1e-12


def nearest_in_cells(unit: Floats, k: int) -> tuple[NDArray[np.int32], Floats]:
    """Returns almost every sample's k nearest others and their cosine similarity, most similar first: (N, k) each.

    N · AROUND · CELL · d operations: a million samples in minutes. What it misses stands in docs/log.md.

    Args:
        unit: (N, d) of length one; N above k.
        k: at least 1.
    """
    n = len(unit)
    centres = _centres(unit, max(n // CELL, 1))
    cell = _cells(unit, centres)
    order = np.argsort(cell, kind="stable")
    ends = np.searchsorted(cell[order], np.arange(len(centres) + 1))
    members = [order[ends[c] : ends[c + 1]] for c in range(len(centres))]
    sizes = np.diff(ends)
    places, similar = np.empty((n, k), np.int32), np.empty((n, k), np.float32)
    for c, mine in enumerate(members):
        if len(mine):
            near = np.argsort(-(centres @ centres[c]), kind="stable")
            enough = max(AROUND, int(np.searchsorted(np.cumsum(sizes[near]), k + 1)) + 1)
            others = np.sort(np.concatenate([members[other] for other in near[:enough]]))
            for start in range(0, len(mine), BLOCK):
                rows = mine[start : start + BLOCK]
                places[rows], similar[rows] = _best(unit, rows, others, k)
    return places, np.clip(similar, -1, 1)


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
    """Returns (C, d) centres of length one."""
    random = np.random.default_rng(0)
    some = unit[random.permutation(len(unit))[: DRAWN * cells]]
    centres = some[:cells]
    for _ in range(ROUNDS):
        cell = _cells(some, centres)
        order = np.argsort(cell, kind="stable")
        there, first = np.unique(cell[order], return_index=True)
        centres = centres.copy()
        centres[there] = np.add.reduceat(some[order], first, axis=0)
        centres /= np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), TINY)
    return np.asarray(centres, np.float32)


def _cells(unit: Floats, centres: Floats) -> NDArray[np.int64]:
    """Returns each row's nearest centre (N,)."""
    parts = [(unit[start : start + BLOCK] @ centres.T).argmax(1) for start in range(0, len(unit), BLOCK)]
    return np.concatenate(parts)
