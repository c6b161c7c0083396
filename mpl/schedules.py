"""Rates as pure functions of the step, so that a resumed run needs no scheduler state."""

import math

from gradebook.mpl.step import StepIndex


def warmup_cosine(index: StepIndex, *, wait: int = 0, warmup: int = 0) -> float:
    """Returns the share of the full learning rate at a step: zero while waiting, a linear rise, then half a cosine.

    Args:
        index: see `gradebook.mpl.step.StepIndex`.
        wait: steps at zero rate; lets a teacher settle before its student moves.
        warmup: steps of the rise after that; its last step has the full rate.
    """
    if index.step < wait:
        return 0.0
    if index.step < wait + warmup:
        return (index.step - wait + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (index.step - wait - warmup) / max(1, index.total - wait - warmup)))


def ramp(index: StepIndex, share: float) -> float:
    """Returns the share of a weight that rises linearly over the first `share` of the run and is whole from then on."""
    rise = share * index.total
    return min(1.0, (index.step + 1) / rise) if rise > 0 else 1.0


def slow_ramp(index: StepIndex, share: float) -> float:
    """Returns the share exp(-5 (1 - t)²) of a weight that is whole from t = 1 on, `share` of the run.

    The rise of Laine and Aila (2017, https://arxiv.org/abs/1610.02242, section 3.1) and those who followed them.
    """
    return math.exp(-5 * (1 - ramp(index, share)) ** 2)


def average_decay(index: StepIndex, decay: float) -> float:
    """Returns the decay of the averaged weights at a step: small at first, so that the average forgets the start."""
    return min(decay, (index.step + 1) / (index.step + 10))
