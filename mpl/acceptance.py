"""An audit of pseudo-labels: how many images to check by hand, and which of the others may then be accepted.

docs/accept.md has the mathematics and its proof. In short: every image of a set of N is drawn with probability f, in
strata, and checked. If D of the N pseudo-labels are wrong, the number k of wrong ones among those drawn is a sum of
independent Bernoulli variables with mean f D, so by Hoeffding (1956) its lower tail is at most that of Binomial(D, f).
Inverting that tail as Clopper and Pearson (1934) do gives an exact upper limit for D.

Shape legend    N images of a group, most confident first    S strata
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIZES = np.linspace(0.05, 1.0, 20)  # shares of the ranked images that are considered
SHARES = np.concatenate([np.geomspace(0.002, 0.2, 60), np.linspace(0.21, 0.7, 50)])  # f that are considered
BANDS = (0.6, 0.8, 1.0)  # of the audited images: the nested sets that can be accepted, smallest first
WEIGHTS = (0.1, 0.2, 0.7)  # of the bands' error levels, by which they sum to the group's
MAX_WRONG = 60  # wrong answers that a plan allows for
FIRST = 0.8  # share of the error level that the first audit uses; each one after an audit that failed has a fifth

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """An audit of the most confident images of a group."""

    size: int  # images that it is about: the first so many of the group
    share: float  # f, the probability with which each of them is drawn
    expected_wrong: float  # wrong pseudo-labels that are expected among them


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The answers about one set of N images."""

    audited: int  # images that were drawn and answered
    wrong: int  # of these, with another answer than the pseudo-label
    others: int = 0  # further images of the set that were labelled meanwhile
    others_wrong: int = 0  # of these, with another label than the pseudo-label


def attempt_level(confidence: float, attempt: int) -> float:
    """Returns the error level of the `attempt`-th audit in a row (from 1). Their sum is at most 1 - confidence."""
    return float((1 - confidence) * FIRST * (1 - FIRST) ** (attempt - 1))


def plan(probabilities: Floats, target: float, level: float, *, excess: float = 1.0) -> Plan | None:
    """Returns the audit from which most labels beyond those typed are expected, None if none is worth its answers.

    They are expected if as many are wrong as expected: `excess` times the sum of 1 - probability. The set is then
    accepted with the probability that a Poisson variable with mean f times as many is small enough.

    Args:
        probabilities: (N,) of the pseudo-labels, highest first.
        target: the share of wrong pseudo-labels that is tolerated.
        level: error level of the group.
        excess: how many times more are wrong than the probabilities say.
    """
    from scipy.stats import binom, poisson

    wrong = np.cumsum(1 - probabilities) * excess
    most, best = 0.0, None
    for size in np.unique(np.ceil(SIZES * len(probabilities)).astype(int)).tolist():
        expected, unanswered = min(float(wrong[size - 1]), size), np.floor(size * (1 - SHARES))
        allowed = np.floor(target * unanswered + 1e-9)
        k = np.arange(MAX_WRONG + 1)[:, None]
        passes = binom.cdf(k, np.minimum(allowed + k + 1, size), SHARES) <= WEIGHTS[-1] * level  # (k, f)
        limit = passes.cumprod(0).sum(0) - 1  # the largest number of wrong answers with which the set is accepted
        power = np.where(limit >= 0, poisson.cdf(limit, SHARES * expected), 0.0)
        gain = power * size * (1 - SHARES) - size * SHARES  # labels given less those typed, expected
        k_best = int(gain.argmax())
        if gain[k_best] > most:
            most, best = float(gain[k_best]), Plan(size=size, share=float(SHARES[k_best]), expected_wrong=expected)
    return best


def strata(classes: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Returns the stratum (size,) of each of the first images of a group: its pseudo-label's class and its band."""
    ends = band_sizes(size)
    band = np.searchsorted(ends, np.arange(size), side="right")
    return np.asarray(classes[:size] * len(BANDS) + band)


def band_sizes(size: int) -> list[int]:
    """Returns the number of images of each nested set."""
    return [int(np.ceil(share * size)) for share in BANDS]


def draw(strata: NDArray[np.int64], share: float, random: np.random.Generator) -> Bools:
    """Draws images (N,), each with probability `share`: of a stratum with n images n * share, rounded at random.

    The rounding is up with the probability of the fraction that is cut off, so that no image is likelier than another.
    """
    drawn = np.zeros(len(strata), bool)
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        exact = share * len(members)
        count = int(exact) + int(random.random() < exact - int(exact))
        drawn[random.permutation(members)[:count]] = True
    return drawn


def p_value(size: int, share: float, target: float, answers: Answers) -> float:
    """Returns the probability of so few wrong answers, at most, if more than `target` of the rest were wrong.

    The rest are the images of the set that nobody has labelled: exactly they would be accepted.
    """
    from scipy.stats import binom

    rest = size - answers.audited - answers.others
    known = answers.wrong + answers.others_wrong
    too_many = (
        int(np.floor(target * rest + 1e-9)) + known + 1
    )  # wrong ones in the set, with which the rest has too many
    return 1.0 if rest <= 0 or too_many > size else float(binom.cdf(answers.wrong, too_many, share))


def upper_limit(size: int, share: float, answers: Answers, level: float) -> float:
    """Returns the largest share of wrong ones among the rest that a test at this level does not rule out."""
    from scipy.stats import binom

    rest, known = size - answers.audited - answers.others, answers.wrong + answers.others_wrong
    if rest <= 0:
        return 0.0
    counts = np.arange(known, known + rest + 1)
    possible = binom.cdf(answers.wrong, counts, share) > level
    return float((counts[possible].max(initial=known) - known) / rest)


def accepted_band(size: int, share: float, target: float, level: float, answers: Sequence[Answers]) -> int | None:
    """Returns the largest band whose rest has at most `target` wrong ones, by a test at its part of the level.

    All bands together are wrong with a probability of at most `level` (Bonferroni, with weights).

    Args:
        size: images of the group's audit.
        share: f.
        target: as in `p_value`.
        level: error level of the group.
        answers: about each nested set, smallest first.
    """
    sizes = band_sizes(size)
    for band in reversed(range(len(BANDS))):
        if p_value(sizes[band], share, target, answers[band]) <= WEIGHTS[band] * level:
            return band
    return None
