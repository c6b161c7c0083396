"""t-SNE of a frozen backbone's vectors in two dimensions (van der Maaten and Hinton, 2008).

By openTSNE, whose gradient is interpolated on a grid (Linderman et al., 2019), so that its time is linear in N. It is
initialised with the first two principal components, which preserves the global structure (Kobak and Berens, 2019). One
thread, because several add up in no fixed order and the map would not be reproducible.

Shape legend    N samples    D features    d of the space
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Progress = Callable[[str, int, int], None]  # phase, steps done, steps in total

DIMENSIONS = 50  # principal components in which t-SNE looks for neighbours; d is at most this
PCA_SAMPLES = 20_000
MIN_SAMPLES = 16  # fewer are placed by their principal components alone
PERPLEXITY = 30
BLOCK_ROWS = 4096  # converted to float32 at once
EARLY_STEPS, STEPS = 250, 500  # with and without early exaggeration
PROGRESS_INTERVAL = 10  # steps
START_SPREAD = 1e-4
NEIGHBOURS, MOVE = "neighbours", "move"  # phases


def project(vectors: NDArray[np.float16], *, seed: int = 0, on_progress: Progress | None = None) -> Floats:
    """Returns the coordinates of each sample on the map, (N, 2), in arbitrary units.

    The same vectors and seed give the same map to the last bit.

    Args:
        vectors: (N, D); only their directions count.
        seed: of the approximate neighbours, and of the jitter between equal vectors.
        on_progress: called with the phase, the steps done and the steps in total.
    """
    on_progress = on_progress or (lambda phase, done, total: None)
    on_progress(NEIGHBOURS, 0, 0)
    space = principal_space(vectors, seed=seed)
    start = np.zeros((len(space), 2))
    start[:, : space.shape[1]] = space[:, :2]
    start /= max(float(start[:, 0].std()), 1e-12) if len(start) else 1.0
    if len(space) < MIN_SAMPLES:
        return start.astype(np.float32)
    start += 0.01 * np.random.default_rng(seed).normal(size=start.shape)
    return _optimize(space, START_SPREAD * start, seed, on_progress)


def principal_space(vectors: NDArray[np.float16], *, seed: int = 0) -> Floats:
    """Returns the first d principal components of the unit vectors: (N, d)."""
    some = _unit(vectors[np.sort(np.random.default_rng(seed).permutation(len(vectors))[:PCA_SAMPLES])])
    middle = some.mean(0) if len(some) else np.zeros(vectors.shape[1], np.float32)
    _, directions = np.linalg.eigh((some - middle).T @ (some - middle))
    directions = directions[:, ::-1][:, :DIMENSIONS]
    out = np.empty((len(vectors), directions.shape[1]), np.float32)
    for first in range(0, len(vectors), BLOCK_ROWS):
        out[first : first + BLOCK_ROWS] = (_unit(vectors[first : first + BLOCK_ROWS]) - middle) @ directions
    return out


def _optimize(space: Floats, start: NDArray[np.float64], seed: int, on_progress: Progress) -> Floats:
    from openTSNE import TSNEEmbedding
    from openTSNE.affinity import PerplexityBasedNN

    perplexity = min(PERPLEXITY, (len(space) - 1) / 3)
    near = PerplexityBasedNN(space, perplexity=perplexity, method="auto", n_jobs=1, random_state=seed)
    points = TSNEEmbedding(start, near, negative_gradient_method="auto", n_jobs=1, random_state=seed)
    for before, steps, exaggeration, momentum in ((0, EARLY_STEPS, 12, 0.5), (EARLY_STEPS, STEPS, None, 0.8)):

        def report(step: int, error: float, now: NDArray[np.float64], before: int = before) -> None:
            on_progress(MOVE, before + step, EARLY_STEPS + STEPS)

        points = points.optimize(
            steps,
            exaggeration=exaggeration,
            momentum=momentum,
            callbacks=report,
            callbacks_every_iters=PROGRESS_INTERVAL,
        )
    return np.asarray(points, np.float32)


def _unit(vectors: NDArray[np.float16]) -> Floats:
    wide = vectors.astype(np.float32)
    return np.asarray(wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12), np.float32)
