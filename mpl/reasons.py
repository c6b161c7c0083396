"""Reasons to look at a sample: small named functions from evidence to a score in [0, 1]; 1 means look first.

Shape legend    N samples    K classes

A reason says nothing (NaN) of a sample for which its evidence is missing, say a run without a teacher. The default
order is `doubt`. No reason is a probability of being wrong; docs/log.md says how well each finds wrong guesses.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]  # (N,)

TINY = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of N samples when a run has ended. NaN (or label -1) where it is not."""

    student: NDArray[np.float64]  # (N, K) the finished student's distribution
    teacher: NDArray[np.float64]  # (N, K) the teacher's at the end
    mean_probability: Scores  # the teacher's of the label it gave last, averaged over the record
    flips: Scores  # how often the teacher's label changed
    steps: Scores  # how often the sample was recorded
    agreement: Scores  # share of records in which student and teacher said the same
    mean_feedback: Scores  # F of the teacher's label, nats
    teacher_label: NDArray[np.int64]  # last
    best_label: NDArray[np.int64]  # last class with the highest F
    mean_best_gain: Scores  # F of the best class above that of the teacher's label, nats


@dataclass(frozen=True, slots=True)
class Reason:
    """A named score with the sentence that a reviewer reads."""

    score: Callable[[Evidence], Scores]
    sentence: str


def unsure(e: Evidence) -> Scores:
    """1 minus the teacher's probability of its label, averaged over training; 1 where it never gave that label."""
    return 1 - e.mean_probability


def disagreement(e: Evidence) -> Scores:
    """Share of the record in which student and teacher named different classes."""
    return 1 - e.agreement


def flips(e: Evidence) -> Scores:
    """Share of the record's steps at which the teacher changed its label."""
    return np.where(e.steps > 1, e.flips / np.maximum(e.steps - 1, 1), np.where(np.isnan(e.flips), np.nan, 0.0))


def thin_margin(e: Evidence) -> Scores:
    """1 when the student's two best classes tie, 0 when it is certain."""
    second, first = np.sort(e.student, axis=1)[:, -2:].T
    return np.asarray(1 - (first - second))


def entropy(e: Evidence) -> Scores:
    """Entropy of the student's distribution as a share of its maximum, log K."""
    p = np.clip(e.student, TINY, 1)
    return np.asarray(-(p * np.log(p)).sum(1) / np.log(e.student.shape[1]))


def at_odds(e: Evidence) -> Scores:
    """Distance of the two distributions at the end (total variation): 0 the same, 1 nothing in common."""
    return np.asarray(np.abs(e.student - e.teacher).sum(1) / 2)


def harmful_feedback(e: Evidence) -> Scores:
    """How far the teacher's label raised the labelled loss, on a scale where the worst twentieth has 1."""
    return _scaled(np.maximum(-e.mean_feedback, 0))


def prefers_another(e: Evidence) -> Scores:
    """How much more another class would have helped the student, on a scale where the largest twentieth has 1."""
    gain = np.where(e.best_label == e.teacher_label, 0.0, e.mean_best_gain)
    return _scaled(np.where(e.best_label < 0, np.nan, gain))


REASONS: dict[str, Reason] = {
    "unsure": Reason(unsure, "the teacher was seldom sure of it over training"),
    "disagreement": Reason(disagreement, "teacher and student often named different classes"),
    "flips": Reason(flips, "the teacher kept changing its mind"),
    "thin_margin": Reason(thin_margin, "two classes are almost level"),
    "entropy": Reason(entropy, "many classes are possible"),
    "at_odds": Reason(at_odds, "teacher and student end far apart"),
    "harmful_feedback": Reason(harmful_feedback, "its pseudo-label made the student worse on your labels"),
    "prefers_another": Reason(prefers_another, "another class would have helped the student more"),
}

_DOUBT = ("unsure", "entropy")  # the default blend


def score(evidence: Evidence) -> dict[str, Scores]:
    """Returns every reason's scores (N,), one column a reason.

    Raises:
        ValueError: a score is not in [0, 1] where its evidence is known.
    """
    columns = {name: np.asarray(reason.score(evidence), np.float64) for name, reason in REASONS.items()}
    for name, column in columns.items():
        known = column[~np.isnan(column)]
        if known.size and not (known.min() >= -1e-6 and known.max() <= 1 + 1e-6):
            raise ValueError(f"reason {name} is out of [0, 1]: {known.min()} to {known.max()}")
    return {name: np.clip(column, 0, 1) for name, column in columns.items()}


def doubt(columns: dict[str, Scores]) -> Scores:
    """Returns the default order: the mean of its reasons, of those known; -1 where none is."""
    parts = np.stack([columns[name] for name in _DOUBT])
    known = ~np.isnan(parts)
    total = np.where(known, parts, 0).sum(0)
    return np.asarray(np.where(known.any(0), total / np.maximum(known.sum(0), 1), -1.0))


def _scaled(values: Scores) -> Scores:
    """Returns values >= 0 divided by their 95th percentile (of those above 0), at most 1; NaN stays."""
    above = values[values > 0]
    top = float(np.quantile(above, 0.95)) if above.size else 1.0
    return np.minimum(values / max(top, TINY), 1.0)
