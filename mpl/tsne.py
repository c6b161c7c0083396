"""A map of the samples in two dimensions: t-SNE of a frozen backbone's vectors (van der Maaten and Hinton, 2008).

By openTSNE, whose gradient is interpolated on a grid (Linderman et al., 2019): its time grows with N, not with N². It
begins at the two largest principal directions, which keeps the large picture (Kobak and Berens, 2019). One thread:
sums of several are in no fixed order, and the map would be another one each time.

Shape legend    N samples    D features    d of the space
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Tell = Callable[[str, int, int], None]  # what is done, how much of it, of how much

DIMENSIONS = 50  # d at most: t-SNE's usual first step, and what its neighbours are found in
DRAWN = 20_000  # samples that the space's directions are found from
FEW = 16  # samples: so few have no neighbourhoods, and lie in their principal directions
PERPLEXITY = 30
BLOCK = 4096  # rows widened to float32 at once
APART, TOGETHER = 250, 500  # steps with exaggerated and with true attraction
TOLD = 10  # steps between two tellings
START = 1e-4  # spread at the beginning
NEIGHBOURS, MOVE = "neighbours", "move"  # what is told of


def project(vectors: NDArray[np.float16], *, seed: int = 0, tell: Tell | None = None) -> Floats:
    """Returns where each sample lies on the map: (N, 2), like samples together; the unit has no meaning.

    The same vectors and seed give the same map to the last bit.

    Args:
        vectors: (N, D); only their directions count.
        seed: of the approximate neighbours, and of what separates samples with the same vector.
        tell: is told how far it is.
    """
    tell = tell or (lambda what, done, total: None)
    tell(NEIGHBOURS, 0, 0)
    space = principal_space(vectors, seed=seed)
    start = np.zeros((len(space), 2))
    start[:, : space.shape[1]] = space[:, :2]
    start /= max(float(start[:, 0].std()), 1e-12) if len(start) else 1.0
    if len(space) < FEW:
        return start.astype(np.float32)
    start += 0.01 * np.random.default_rng(seed).normal(size=start.shape)
    return _moved(space, START * start, seed, tell)


def principal_space(vectors: NDArray[np.float16], *, seed: int = 0) -> Floats:
    """Returns the vectors' directions, centred, in their d largest principal directions, largest first: (N, d)."""
    some = _unit(vectors[np.sort(np.random.default_rng(seed).permutation(len(vectors))[:DRAWN])])
    middle = some.mean(0) if len(some) else np.zeros(vectors.shape[1], np.float32)
    _, directions = np.linalg.eigh((some - middle).T @ (some - middle))
    directions = directions[:, ::-1][:, :DIMENSIONS]
    out = np.empty((len(vectors), directions.shape[1]), np.float32)
    for first in range(0, len(vectors), BLOCK):
        out[first : first + BLOCK] = (_unit(vectors[first : first + BLOCK]) - middle) @ directions
    return out


def _moved(space: Floats, start: NDArray[np.float64], seed: int, tell: Tell) -> Floats:
    from openTSNE import TSNEEmbedding
    from openTSNE.affinity import PerplexityBasedNN

    perplexity = min(PERPLEXITY, (len(space) - 1) / 3)
    near = PerplexityBasedNN(space, perplexity=perplexity, method="auto", n_jobs=1, random_state=seed)
    points = TSNEEmbedding(start, near, negative_gradient_method="auto", n_jobs=1, random_state=seed)
    for before, steps, exaggeration, momentum in ((0, APART, 12, 0.5), (APART, TOGETHER, None, 0.8)):

        def told(step: int, error: float, now: NDArray[np.float64], before: int = before) -> None:
            tell(MOVE, before + step, APART + TOGETHER)

        points = points.optimize(
            steps, exaggeration=exaggeration, momentum=momentum, callbacks=told, callbacks_every_iters=TOLD
        )
    return np.asarray(points, np.float32)


def _unit(vectors: NDArray[np.float16]) -> Floats:
    wide = vectors.astype(np.float32)
    return np.asarray(wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12), np.float32)
