"""Learning-rate and weight schedules as pure functions of the step: a resumed run needs no scheduler state."""

import math

from gradebook.mpl.step import StepIndex


def warmup_cosine(index: StepIndex, *, wait: int = 0, warmup: int = 0) -> float:
    """Returns the learning rate at a step as a share of the full one: zero, a linear warmup, then half a cosine.

    Args:
        index: see `gradebook.mpl.step.StepIndex`.
        wait: steps at zero rate, for a teacher to settle before its student is trained.
        warmup: steps of the warmup after that; its last step has the full rate.
    """
    if index.step < wait:
        return 0.0
    if index.step < wait + warmup:
        return (index.step - wait + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (index.step - wait - warmup) / max(1, index.total - wait - warmup)))


def warmup_constant(index: StepIndex, *, wait: int = 0, warmup: int = 0) -> float:
    """Returns the same as `warmup_cosine`, except that the full rate stays after the warmup."""
    return warmup_cosine(index, wait=wait, warmup=warmup) if index.step < wait + warmup else 1.0


def ramp(index: StepIndex, share: float) -> float:
    """Returns a factor that rises linearly to 1 over the first `share` of the run."""
    rise = share * index.total
    return min(1.0, (index.step + 1) / rise) if rise > 0 else 1.0


def slow_ramp(index: StepIndex, share: float) -> float:
    """Returns exp(-5 (1 - t)²), a factor that is 1 from t = 1 on, which is at `share` of the run.

    From Laine and Aila (2017, https://arxiv.org/abs/1610.02242, section 3.1).
    """
    return math.exp(-5 * (1 - ramp(index, share)) ** 2)


def average_decay(index: StepIndex, decay: float) -> float:
    """Returns the decay of the averaged weights at a step: small at first, so that the average forgets the start."""
    return min(decay, (index.step + 1) / (index.step + 10))
