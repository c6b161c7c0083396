"""Greedy facility location: a batch that covers the uncertain samples (Bae et al. 2025, Uncertainty Herding).

With k(x, y) = exp(-|x - y|² / width²) on centred vectors of length one, each choice x maximises

    Σ_n doubt_n · max(k(x_n, x) - max over labelled and chosen y of k(x_n, y), 0)

so each choice is typical of many candidates and different from the previous choices. The sum is submodular: the gain of
a candidate can only shrink with further choices. An earlier gain is therefore an upper bound, and only the candidates
with the largest bounds are evaluated again (lazy greedy). With cached bounds, a choice among a million candidates
evaluates hundreds of them.

Shape legend    N candidates    M labelled samples    G samples to cover    D features    b samples to choose
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradebook.mpl.ranking import top

MAX_GOALS = 4_000  # samples to cover; bounds the time at N·MAX_GOALS·D
GAINS_BATCH = 64  # evaluated at once
INITIAL_POOL = 1_024  # candidates with the highest bounds that are searched first
MAX_CACHED_KERNELS = 4_096  # rows of the kernel; bounds the memory at MAX_CACHED_KERNELS·MAX_GOALS numbers
EPS = 1e-12

Vectors = NDArray[np.float32]  # of length one, unless stated otherwise
Numbers = NDArray[np.floating[Any]]
VectorsAt = Callable[[NDArray[np.int64]], Vectors]  # indices (n,) -> vectors of those candidates (n, D)


@dataclass(frozen=True, slots=True, kw_only=True)
class Goals:
    """The samples to cover, and how far each is covered."""

    vectors: Vectors  # (G, D)
    doubt: NDArray[np.float32]  # (G,) at least 0
    covered: NDArray[np.float32]  # (G,) the largest k to a labelled or chosen sample, 0 without any
    width: float = 1.0


def cover(
    features: NDArray[np.float32],
    labelled: NDArray[np.float32],
    doubt: Numbers,
    b: int,
    random: np.random.Generator,
    *,
    width: float = 1.0,
) -> NDArray[np.int64]:
    """Chooses the candidates that cover most of the doubt that the labelled samples do not cover.

    Args:
        features: (N, D) of the candidates, of any length.
        labelled: (M, D), M may be 0.
        doubt: (N,) at least 0; equal before there is a student.
        b: how many to choose; all candidates if there are fewer.
        random: samples `MAX_GOALS` candidates to cover if there are more.
        width: of the kernel, for vectors of length one.

    Returns:
        (b,) positions in `features`, in order of choice.
    """
    both = directions(features, labelled)
    x = both[: len(features)]
    drawn = np.sort(random.permutation(len(x))[:MAX_GOALS])
    uncovered = np.zeros(len(drawn), np.float32)
    goals = Goals(vectors=x[drawn], doubt=doubt[drawn].astype(np.float32), covered=uncovered, width=width)
    goals = cover_by(goals, both[len(x) :])
    return choose(gains(x, goals), lambda indices: x[indices], goals, b)


def directions(*parts: NDArray[np.float32]) -> Vectors:
    """Returns the vectors of all parts (n, D), centred and scaled to length one: features share a common direction."""
    x = np.concatenate(parts).astype(np.float32)
    return unit_directions(x, x.mean(0, dtype=np.float32))


def unit_directions(x: NDArray[np.float32], centre: NDArray[np.float32]) -> Vectors:
    """Returns the unit vectors (n, D) that point from the centre (D,) to each of x (n, D)."""
    centred = x - centre
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), EPS), np.float32)


def cover_by(goals: Goals, seen: Vectors) -> Goals:
    """Returns the goals as also covered by more samples (m, D)."""
    covered = goals.covered
    for part in _parts(seen):
        covered = np.maximum(covered, _kernel(goals.vectors, part, goals.width).max(1))
    return replace(goals, covered=covered)


def gains(x: Vectors, goals: Goals) -> NDArray[np.float64]:
    """Returns the gain (n,) of each of x (n, D): the doubt that it would newly cover."""
    parts = [_gains(_kernel(part, goals.vectors, goals.width), goals.covered, goals.doubt) for part in _parts(x)]
    return np.concatenate([np.empty(0), *parts])


def choose(bounds: Numbers, vectors_at: VectorsAt, goals: Goals, b: int) -> NDArray[np.int64]:
    """Chooses greedily by gain, evaluating only the candidates with the largest bounds.

    Args:
        bounds: (N,) upper bounds of the gains; -inf for candidates that cannot be chosen.
        vectors_at: see `VectorsAt`.
        goals: the samples to cover.
        b: how many to choose; all possible ones if there are fewer.

    Returns:
        (b,) indices, in order of choice.
    """
    gain, covered = np.array(bounds, np.float64), goals.covered
    evaluated_at = np.full(len(gain), -1)  # number chosen when a gain was computed
    kernel = _cached(lambda indices: _kernel(vectors_at(indices), goals.vectors, goals.width))
    pool, others = _pool(gain, INITIAL_POOL)
    chosen: list[int] = []
    b = min(b, int(np.isfinite(gain).sum()))
    while len(chosen) < b:
        first = pool[top(gain[pool], GAINS_BATCH)]
        if gain[first[0]] < others:
            pool, others = _pool(gain, 4 * len(pool))
        elif evaluated_at[first[0]] == len(chosen):
            chosen.append(int(first[0]))
            covered = np.maximum(covered, kernel(first[:1])[0])
            gain[first[0]] = -np.inf
        else:
            stale = first[(evaluated_at[first] < len(chosen)) & np.isfinite(gain[first])]
            gain[stale], evaluated_at[stale] = _gains(kernel(stale), covered, goals.doubt), len(chosen)
    return np.array(chosen, np.int64)


def _cached(kernel: VectorsAt) -> VectorsAt:
    """Returns `kernel` with a bounded cache of rows."""
    rows: dict[int, NDArray[np.float32]] = {}

    def cached(indices: NDArray[np.int64]) -> NDArray[np.float32]:
        if len(rows) > MAX_CACHED_KERNELS:
            rows.clear()
        new = [k for k in indices.tolist() if k not in rows]
        if new:
            rows.update(zip(new, kernel(np.array(new, np.int64)), strict=True))
        return np.stack([rows[k] for k in indices.tolist()])

    return cached


def _pool(gain: NDArray[np.float64], size: int) -> tuple[NDArray[np.int64], float]:
    """Returns the indices of the highest gains, sorted, and the highest of the other gains."""
    some = np.sort(top(gain, size))
    left = gain.copy()
    left[some] = -np.inf
    return some, float(left.max()) if len(left) else -np.inf


def _kernel(x: Vectors, y: Vectors, width: float) -> NDArray[np.float32]:
    """Returns k (n, m) of vectors of length one."""
    kernel = np.asarray(x @ y.T, np.float32)
    kernel -= 1
    kernel *= 2 / width**2
    return np.exp(kernel, out=kernel)


def _gains(
    kernel: NDArray[np.float32], covered: NDArray[np.float32], doubt: NDArray[np.float32]
) -> NDArray[np.float64]:
    return np.asarray(np.maximum(kernel - covered, 0) @ doubt, np.float64)


def _parts(x: Vectors) -> list[Vectors]:
    """Splits the rows into parts whose kernels fit into memory."""
    return [x[start : start + 1024] for start in range(0, len(x), 1024)]
