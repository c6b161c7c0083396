"""Rates as pure functions of the step, so that a resumed run needs no scheduler state."""

import math

from gradebook.mpl.step import Clock


def warmup_cosine(clock: Clock, *, wait: int = 0, warmup: int = 0) -> float:
    """Returns the share of the full learning rate at a step: zero while waiting, a linear rise, then half a cosine.

    Args:
        clock: see `gradebook.mpl.step.Clock`.
        wait: steps at zero rate; lets a teacher settle before its student moves.
        warmup: steps of the rise after that; its last step has the full rate.
    """
    if clock.at < wait:
        return 0.0
    if clock.at < wait + warmup:
        return (clock.at - wait + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (clock.at - wait - warmup) / max(1, clock.steps - wait - warmup)))


def ramp(clock: Clock, share: float) -> float:
    """Returns the share of a weight that rises linearly over the first `share` of the run and is whole from then on."""
    rise = share * clock.steps
    return min(1.0, (clock.at + 1) / rise) if rise > 0 else 1.0


def slow_ramp(clock: Clock, share: float) -> float:
    """Returns the share exp(-5 (1 - t)²) of a weight that is whole from t = 1 on, `share` of the run.

    The rise of Laine and Aila (2017, https://arxiv.org/abs/1610.02242, section 3.1) and those who followed them.
    """
    return math.exp(-5 * (1 - ramp(clock, share)) ** 2)


def average_decay(clock: Clock, decay: float) -> float:
    """Returns the decay of the averaged weights at a step: small at first, so that the average forgets the start."""
    return min(decay, (clock.at + 1) / (clock.at + 10))
