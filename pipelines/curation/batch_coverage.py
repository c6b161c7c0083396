"""A batch for a reviewer: what stands for most of the doubt that the labels have left
(`gradebook.mpl.facility_location`).

What each sample would cover is worked out once a run, beside the labels that the run knew, and kept with its reasons:
labels that come later only lessen it, so it says which few samples are worth a look. Of very many samples some are
drawn, to cover and to choose from.

Shape legend    N samples    G samples to cover    d of the space
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from gradebook.pipelines.curation.evidence import SampleEvidence

CANDIDATES = 10_000  # samples that are chosen from at most
GOALS = 2_000  # samples to cover, where there are more candidates than that
ENOUGH = 4  # goals for each choice that there must be among the samples asked for, where some were drawn

Space = Callable[[NDArray[np.int64]], NDArray[np.float32]]  # places (n,) -> where the samples there lie (n, d)


@dataclass(frozen=True, slots=True, kw_only=True)
class Covers:
    """What is to be covered, as it was when the run had finished: plain data, which JSON keeps exactly."""

    centre: list[float]  # (d,) what directions lead from
    goals: list[int]  # (G,) places
    covered: list[float]  # (G,) in [0, 1], by the samples that had a label


def covers(found: "SampleEvidence", doubt: NDArray[np.float64]) -> tuple[Covers, NDArray[np.float32]] | None:
    """Returns what is to be covered, and what each sample would cover of it; None where samples have no vectors.

    Args:
        found: what is known of the samples to choose from, and which stand for their kind already.
        doubt: (N,) of each of them; below 0 counts as 0.

    Returns:
        The second is (N,), NaN of those that were not drawn to choose from.
    """
    from gradebook.mpl.facility_location import MAX_GOALS, Goals, beside, gains, towards
    from gradebook.mpl.ranking import one_of_each, rank

    if found.beside is None or found.space is None or not len(found.space):
        return None
    some = one_of_each(rank(doubt), found.groups)
    drawn = np.random.default_rng(0).permutation(len(some))
    many = len(doubt) > CANDIDATES
    goals_at = some[np.sort(drawn[: GOALS if many else MAX_GOALS])]
    chosen_from = some[drawn[:CANDIDATES]] if many else np.arange(len(doubt))
    centre = _mean(found.space, some, found.beside)
    goals = Goals(
        vectors=towards(found.space[goals_at], centre),
        doubt=np.maximum(doubt[goals_at], 0).astype(np.float32),
        covered=np.zeros(len(goals_at), np.float32),
    )
    goals = beside(goals, towards(found.beside, centre))
    bounds = np.full(len(doubt), np.nan, np.float32)
    bounds[chosen_from] = gains(towards(found.space[chosen_from], centre), goals)
    return Covers(centre=centre.tolist(), goals=goals_at.tolist(), covered=goals.covered.tolist()), bounds


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """The samples that a batch is chosen from, and what is known of each."""

    doubt: NDArray[np.float32]  # (N,) below 0 counts as 0
    bounds: NDArray[np.float32]  # (N,) see `covers`
    is_open: NDArray[np.bool_]  # (N,) which can be chosen; only these are to be covered


def covering(
    kept: Covers, candidates: Candidates, space: Space, *, seen: NDArray[np.int64], limit: int
) -> NDArray[np.int64] | None:
    """Returns the places of at most `limit` samples, first ones first; None where too few that were drawn are open.

    Args:
        kept: see `covers`.
        candidates: see `Candidates`.
        space: see `Space`.
        seen: places of those that stand for their kind since.
        limit: how many to choose.
    """
    from gradebook.mpl.facility_location import Goals, beside, choose, towards

    doubt, bounds, is_open = candidates.doubt, candidates.bounds, candidates.is_open
    goals_at, chosen_from = np.array(kept.goals, np.int64), np.flatnonzero(is_open & ~np.isnan(bounds))
    to_cover = is_open[goals_at]
    if len(is_open) > CANDIDATES and to_cover.sum() < ENOUGH * limit:
        return None

    def look(places: NDArray[np.int64]) -> NDArray[np.float32]:
        return towards(space(places), np.array(kept.centre, np.float32))

    goals = Goals(
        vectors=look(goals_at),
        doubt=np.where(to_cover, np.maximum(doubt[goals_at], 0), 0).astype(np.float32),
        covered=np.array(kept.covered, np.float32),
    )
    goals = beside(goals, look(seen)) if len(seen) else goals
    return chosen_from[choose(bounds[chosen_from], lambda places: look(chosen_from[places]), goals, limit)]


def _mean(space: NDArray[np.float32], some: NDArray[np.int64], beside: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the mean (d,) of some of the samples and those beside them."""
    total, step = beside.sum(0, dtype=np.float64), 50_000
    for start in range(0, len(some), step):
        total += space[some[start : start + step]].sum(0, dtype=np.float64)
    return np.asarray(total / (len(some) + len(beside)), np.float32)
