"""Which images a step gets: a pure function of the seed and the step, so that a resumed run needs no state for it.

Every process computes the whole step's draw and takes its own slice: any number of processes sees the same data.
"""

from bisect import bisect_right
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int64]

_LABELLED, _UNLABELLED, _VIEWS = range(3)  # each kind of draw has its own random numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """One process's share of a step."""

    labelled: Positions  # (B,) positions in the run's list of samples
    unlabelled: Positions  # (U,)
    seeds: NDArray[np.uint64]  # (B + 2U,) one for each image's augmentation: labelled, weak, strong


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampler:
    """Deals labelled and unlabelled samples in shuffled passes: nobody comes twice before everybody came once."""

    labelled: Positions  # positions of the samples to learn from with a label
    unlabelled: Positions  # positions of those without
    batch_labelled: int  # B over all processes
    batch_unlabelled: int  # U over all processes
    seed: int
    since: int = 0  # step from which on it deals

    def draw(self, step: int, *, process: int = 0, processes: int = 1) -> Draw:
        """Returns what one process gets at a step, counted from 0, not before `since`.

        Both batches must divide evenly by the number of processes; the trainer has checked that.
        """
        b, u = self.batch_labelled, self.batch_unlabelled if len(self.unlabelled) else 0
        assert b % processes == 0 and u % processes == 0
        labelled = self.labelled[self._dealt(len(self.labelled), b, step, _LABELLED)]
        unlabelled = self.unlabelled[self._dealt(len(self.unlabelled), u, step, _UNLABELLED)]
        random = np.random.default_rng([self.seed, _VIEWS, step])
        seeds = random.integers(2**63, size=b + 2 * u, dtype=np.uint64)
        mine = [part.reshape(processes, -1)[process] for part in (labelled, unlabelled, *np.split(seeds, [b, b + u]))]
        return Draw(labelled=mine[0], unlabelled=mine[1], seeds=np.concatenate(mine[2:]))

    def _dealt(self, population: int, batch: int, step: int, kind: int) -> Positions:
        """Returns the next `batch` cards of an endless deck made of shuffled passes."""
        at = step - self.since
        assert at >= 0
        seeds = (self.seed, kind, self.since) if self.since else (self.seed, kind)
        cards = np.arange(batch * at, batch * (at + 1))
        passes, places = cards // population, cards % population
        dealt = np.empty(batch, np.int64)
        for number in np.unique(passes):
            of_pass = passes == number
            dealt[of_pass] = _shuffled(population, int(number), seeds)[places[of_pass]]
        return dealt


@dataclass(slots=True)
class SamplerTimeline:
    """A run's samplers: one from its start, and another from each step on at which its labels change."""

    first: Sampler
    drawn: int = 0  # steps that were asked for so far, the one after the last
    _later: list[Sampler] = field(default_factory=list)  # in order of their first step

    def change(self, step: int, sampler: Sampler) -> None:
        """Lets `sampler` deal from a step on that was not asked for yet, nor before a change that is known."""
        assert step >= self.drawn and all(step > other.since for other in self._later)
        self._later.append(replace(sampler, since=step))

    def draw(self, step: int, *, process: int = 0, processes: int = 1) -> Draw:
        """See `Sampler.draw`."""
        self.drawn = max(self.drawn, step + 1)
        at = bisect_right(self._later, step, key=lambda sampler: sampler.since)
        sampler = self._later[at - 1] if at else self.first
        return sampler.draw(step, process=process, processes=processes)


def noise_seed(seed: int, step: int, process: int) -> int:
    """Returns the seed of what a process's networks draw from a step on (dropout, stochastic depth)."""
    return int(np.random.SeedSequence((seed, step, process)).generate_state(1)[0])


@lru_cache(maxsize=8)
def _shuffled(population: int, number: int, seeds: tuple[int, ...]) -> Positions:
    return np.random.default_rng([*seeds, number]).permutation(population)
