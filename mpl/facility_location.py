"""A batch that stands for much of what is in doubt, chosen greedily (Bae et al. 2025, Uncertainty Herding).

With k(x, y) = exp(-|x - y|² / width²) on centred vectors of length one, each choice x maximises

    Σ_n doubt_n · max(k(x_n, x) - max over labelled and chosen y of k(x_n, y), 0)

so a choice is typical of many candidates at few labels, and different from all before it. What a choice adds only
shrinks with others (the sum is submodular), so what was found of it once bounds it from above ever after, and only
where a bound is the largest is it looked at again. Bounds may be kept, and a million candidates be chosen among by
looking at hundreds of them.

Shape legend    N candidates    M labelled samples    G samples to cover    D features    b samples to choose
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradebook.mpl.ranking import top

COVERED = 4_000  # candidates that are to be covered at most: bounds the time at N·COVERED·D
AT_ONCE = 64  # gains that are looked at again together
POOL = 1_024  # candidates with the highest bounds that are ordered to begin with
KEPT = 4_096  # candidates whose kernels are kept: bounds the memory at KEPT·COVERED numbers
TINY = 1e-12

Vectors = NDArray[np.float32]  # of length one, where nothing else is said
Numbers = NDArray[np.floating[Any]]
Look = Callable[[NDArray[np.int64]], Vectors]  # places (n,) -> the candidates there (n, D)


@dataclass(frozen=True, slots=True, kw_only=True)
class Goals:
    """What is to be covered, and how far it is."""

    vectors: Vectors  # (G, D)
    doubt: NDArray[np.float32]  # (G,) at least 0
    covered: NDArray[np.float32]  # (G,) k to the nearest that stands for it, 0 without any
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
    """Chooses what covers most of the doubt that the labelled samples leave uncovered.

    Args:
        features: (N, D) of the candidates, of any length.
        labelled: (M, D), M may be 0.
        doubt: (N,) at least 0; all alike before there is a student.
        b: how many to choose; all candidates where there are fewer.
        random: draws the `COVERED` candidates that are to be covered where there are more.
        width: of the kernel, where vectors have length one.

    Returns:
        (b,) positions in `features`, first ones first.
    """
    every = directions(features, labelled)
    x = every[: len(features)]
    drawn = np.sort(random.permutation(len(x))[:COVERED])
    uncovered = np.zeros(len(drawn), np.float32)
    goals = Goals(vectors=x[drawn], doubt=doubt[drawn].astype(np.float32), covered=uncovered, width=width)
    goals = beside(goals, every[len(x) :])
    return choose(gains(x, goals), lambda places: x[places], goals, b)


def directions(*parts: NDArray[np.float32]) -> Vectors:
    """Returns vectors one under the other, (n, D), centred and of length one; those of features all point one way."""
    x = np.concatenate(parts).astype(np.float32)
    return towards(x, x.mean(0, dtype=np.float32))


def towards(x: NDArray[np.float32], centre: NDArray[np.float32]) -> Vectors:
    """Returns what leads from the centre (D,) to each of x (n, D), of length one."""
    centred = x - centre
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), TINY), np.float32)


def beside(goals: Goals, seen: Vectors) -> Goals:
    """Returns the goals where some samples (m, D) more stand for what is like them."""
    covered = goals.covered
    for part in _parts(seen):
        covered = np.maximum(covered, _kernel(goals.vectors, part, goals.width).max(1))
    return replace(goals, covered=covered)


def gains(x: Vectors, goals: Goals) -> NDArray[np.float64]:
    """Returns the doubt (n,) that each of x (n, D) would cover anew."""
    parts = [_gains(_kernel(part, goals.vectors, goals.width), goals.covered, goals.doubt) for part in _parts(x)]
    return np.concatenate([np.empty(0), *parts])


def choose(bounds: Numbers, look: Look, goals: Goals, b: int) -> NDArray[np.int64]:
    """Chooses greedily by what each candidate covers anew, looking at those alone whose bounds are the largest.

    Args:
        bounds: (N,) at least what each would cover anew; -inf for those that cannot be chosen.
        look: see `Look`.
        goals: what is to be covered.
        b: how many to choose; all that can be where there are fewer.

    Returns:
        (b,) places, first ones first.
    """
    gain, covered = np.array(bounds, np.float64), goals.covered
    found_at = np.full(len(gain), -1)  # how many had been chosen when a gain was found
    kernel = _remembering(lambda places: _kernel(look(places), goals.vectors, goals.width))
    pool, others = _pool(gain, POOL)
    chosen: list[int] = []
    b = min(b, int(np.isfinite(gain).sum()))
    while len(chosen) < b:
        first = pool[top(gain[pool], AT_ONCE)]
        if gain[first[0]] < others:
            pool, others = _pool(gain, 4 * len(pool))
        elif found_at[first[0]] == len(chosen):
            chosen.append(int(first[0]))
            covered = np.maximum(covered, kernel(first[:1])[0])
            gain[first[0]] = -np.inf
        else:
            stale = first[(found_at[first] < len(chosen)) & np.isfinite(gain[first])]
            gain[stale], found_at[stale] = _gains(kernel(stale), covered, goals.doubt), len(chosen)
    return np.array(chosen, np.int64)


def _remembering(kernel: Look) -> Look:
    """Returns `kernel`, which works a row out once, as long as there are not very many."""
    rows: dict[int, NDArray[np.float32]] = {}

    def remembered(places: NDArray[np.int64]) -> NDArray[np.float32]:
        if len(rows) > KEPT:
            rows.clear()
        new = [k for k in places.tolist() if k not in rows]
        if new:
            rows.update(zip(new, kernel(np.array(new, np.int64)), strict=True))
        return np.stack([rows[k] for k in places.tolist()])

    return remembered


def _pool(gain: NDArray[np.float64], size: int) -> tuple[NDArray[np.int64], float]:
    """Returns the places of the highest gains, in order of place, and the highest of the others."""
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
    """Returns the rows in parts that fit into memory with their kernels."""
    return [x[start : start + 1024] for start in range(0, len(x), 1024)]
