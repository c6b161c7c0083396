"""The sampler: which images a step trains on, as a function of the seed and the step alone.

A resumed run therefore needs no sampler state. Every process computes the whole step's draw and takes its own slice, so
that any number of processes sees the same data.
"""

from bisect import bisect_right
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int64]

_LABELLED, _UNLABELLED, _VIEWS = range(3)  # streams of random numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """The samples of one step in one process."""

    labelled: Positions  # (B,) positions in the training set
    unlabelled: Positions  # (U,)
    seeds: NDArray[np.uint64]  # (B + 2U,) of the augmentations: labelled, weak, strong


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampler:
    """Draws labelled and unlabelled samples in shuffled passes: each pass has every sample once."""

    labelled: Positions  # positions of the samples with a label to train on
    unlabelled: Positions  # positions of the samples without a label
    batch_labelled: int  # B over all processes
    batch_unlabelled: int  # U over all processes
    seed: int
    first_step: int = 0  # at which the passes start

    def draw(self, step: int, *, process: int = 0, processes: int = 1) -> Draw:
        """Returns one process's samples of a step, counted from 0, not before `first_step`.

        Both batch sizes must be multiples of the number of processes (`backend.check_processes`).
        """
        b, u = self.batch_labelled, self.batch_unlabelled if len(self.unlabelled) else 0
        assert b % processes == 0 and u % processes == 0
        labelled = self.labelled[self._positions(len(self.labelled), b, step, _LABELLED)]
        unlabelled = self.unlabelled[self._positions(len(self.unlabelled), u, step, _UNLABELLED)]
        random = np.random.default_rng([self.seed, _VIEWS, step])
        seeds = random.integers(2**63, size=b + 2 * u, dtype=np.uint64)
        mine = [part.reshape(processes, -1)[process] for part in (labelled, unlabelled, *np.split(seeds, [b, b + u]))]
        return Draw(labelled=mine[0], unlabelled=mine[1], seeds=np.concatenate(mine[2:]))

    def _positions(self, count: int, batch: int, step: int, stream: int) -> Positions:
        """Returns the step's `batch` entries of an endless sequence: one shuffled pass over `count` after the other."""
        at = step - self.first_step
        assert at >= 0
        seeds = (self.seed, stream, self.first_step) if self.first_step else (self.seed, stream)
        entries = np.arange(batch * at, batch * (at + 1))
        passes, offsets = entries // count, entries % count
        drawn = np.empty(batch, np.int64)
        for number in np.unique(passes):
            of_pass = passes == number
            drawn[of_pass] = _shuffled(count, int(number), seeds)[offsets[of_pass]]
        return drawn


@dataclass(slots=True)
class SamplerTimeline:
    """The samplers of a run: the first, and one more from each step on at which the labels change."""

    first: Sampler
    drawn: int = 0  # steps drawn so far: the number after the last one
    _later: list[Sampler] = field(default_factory=list)  # in order of their first step

    def change(self, step: int, sampler: Sampler) -> None:
        """Uses `sampler` from a step on that has not been drawn yet and follows all earlier changes."""
        assert step >= self.drawn and all(step > other.first_step for other in self._later)
        self._later.append(replace(sampler, first_step=step))

    def draw(self, step: int, *, process: int = 0, processes: int = 1) -> Draw:
        """See `Sampler.draw`."""
        self.drawn = max(self.drawn, step + 1)
        index = bisect_right(self._later, step, key=lambda sampler: sampler.first_step)
        sampler = self._later[index - 1] if index else self.first
        return sampler.draw(step, process=process, processes=processes)


def noise_seed(seed: int, step: int, process: int) -> int:
    """Returns the seed of a process's networks (dropout, stochastic depth) from a step on."""
    return int(np.random.SeedSequence((seed, step, process)).generate_state(1)[0])


@lru_cache(maxsize=8)
def _shuffled(count: int, number: int, seeds: tuple[int, ...]) -> Positions:
    return np.random.default_rng([*seeds, number]).permutation(count)
