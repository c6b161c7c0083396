"""A batch for a reviewer: the samples that cover most of the remaining doubt (`gradebook.mpl.facility_location`).

The gain of each sample is computed once per run, given the labels of the run, and cached with its reasons. New labels
can only lower a gain, so the cached gains are upper bounds, and a batch evaluates only the few largest ones.
With more than `CANDIDATES` samples, random subsets are covered and chosen from.

Shape legend    N samples    G samples to cover    d dimensions of the space
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from gradebook.pipelines.curation.evidence import SampleEvidence

CANDIDATES = 10_000  # samples to choose from; with more samples, a random subset
GOALS = 2_000  # samples to cover, if there are more than `CANDIDATES` samples
MIN_GOALS_PER_CHOICE = 4  # in a random subset; with fewer, the cached coverage is not used

FeaturesAt = Callable[[NDArray[np.int64]], NDArray[np.float32]]  # indices (n,) -> features (n, d)


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """The samples to cover, as they were when the run had finished. Plain data, which JSON stores exactly."""

    centre: list[float]  # (d,) from which directions point
    goals: list[int]  # (G,) indices of the samples to cover
    covered: list[float]  # (G,) in [0, 1], by the samples that had a label


def compute_coverage(
    evidence: "SampleEvidence", doubt: NDArray[np.float64], max_goals: int | None = None
) -> tuple[Coverage, NDArray[np.float32]] | None:
    """Returns the samples to cover, and the gain of each sample; None if samples have no embeddings.

    Args:
        evidence: the evidence about the samples to choose from, and the features of the others.
        doubt: (N,) of each sample; below 0 counts as 0.
        max_goals: cover a random subset of so many samples; None for the usual number.

    Returns:
        The gains are (N,), NaN for samples that cannot be chosen because they are not in the random subset.
    """
    from gradebook.mpl.facility_location import MAX_GOALS, Goals, cover_by, gains, unit_directions
    from gradebook.mpl.ranking import drop_duplicates, rank

    if evidence.other_features is None or evidence.space is None or not len(evidence.space):
        return None
    distinct = drop_duplicates(rank(doubt), evidence.groups)
    shuffled = np.random.default_rng(0).permutation(len(distinct))
    many = len(doubt) > CANDIDATES
    goals_at = distinct[np.sort(shuffled[: max_goals or (GOALS if many else MAX_GOALS)])]
    candidates = distinct[shuffled[:CANDIDATES]] if many else np.arange(len(doubt))
    centre = _mean(evidence.space, distinct, evidence.other_features)
    goals = Goals(
        vectors=unit_directions(evidence.space[goals_at], centre),
        doubt=np.maximum(doubt[goals_at], 0).astype(np.float32),
        covered=np.zeros(len(goals_at), np.float32),
    )
    goals = cover_by(goals, unit_directions(evidence.other_features, centre))
    bounds = np.full(len(doubt), np.nan, np.float32)
    bounds[candidates] = gains(unit_directions(evidence.space[candidates], centre), goals)
    return Coverage(centre=centre.tolist(), goals=goals_at.tolist(), covered=goals.covered.tolist()), bounds


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """The samples that a batch is chosen from."""

    doubt: NDArray[np.float32]  # (N,) below 0 counts as 0
    bounds: NDArray[np.float32]  # (N,) upper bounds of the gains, see `compute_coverage`
    undecided: NDArray[np.bool_]  # (N,) samples that can be chosen; only these are to be covered


def choose_batch(
    coverage: Coverage,
    candidates: Candidates,
    features_at: FeaturesAt,
    *,
    decided: NDArray[np.int64],
    limit: int,
) -> NDArray[np.int64] | None:
    """Returns the indices of at most `limit` samples in order of choice; None if the random subset has too few left.

    Args:
        coverage: see `compute_coverage`.
        candidates: see `Candidates`.
        features_at: see `FeaturesAt`.
        decided: indices of samples that were decided since the run, which cover others.
        limit: how many to choose.
    """
    from gradebook.mpl.facility_location import Goals, choose, cover_by, unit_directions

    doubt, bounds, undecided = candidates.doubt, candidates.bounds, candidates.undecided
    goals_at, open_at = np.array(coverage.goals, np.int64), np.flatnonzero(undecided & ~np.isnan(bounds))
    to_cover = undecided[goals_at]
    if len(undecided) > CANDIDATES and to_cover.sum() < MIN_GOALS_PER_CHOICE * limit:
        return None

    def directions_at(indices: NDArray[np.int64]) -> NDArray[np.float32]:
        return unit_directions(features_at(indices), np.array(coverage.centre, np.float32))

    goals = Goals(
        vectors=directions_at(goals_at),
        doubt=np.where(to_cover, np.maximum(doubt[goals_at], 0), 0).astype(np.float32),
        covered=np.array(coverage.covered, np.float32),
    )
    goals = cover_by(goals, directions_at(decided)) if len(decided) else goals
    return open_at[choose(bounds[open_at], lambda indices: directions_at(open_at[indices]), goals, limit)]


def _mean(space: NDArray[np.float32], chosen: NDArray[np.int64], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the mean (d,) of the chosen rows and the others."""
    total, step = others.sum(0, dtype=np.float64), 50_000
    for start in range(0, len(chosen), step):
        total += space[chosen[start : start + step]].sum(0, dtype=np.float64)
    return np.asarray(total / (len(chosen) + len(others)), np.float32)
