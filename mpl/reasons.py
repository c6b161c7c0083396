"""Reasons to review a sample: named functions from evidence to a score in [0, 1]; 1 means review first.

Shape legend    N samples    K classes

A score is NaN where its evidence is missing, for example in a run without a teacher. The default order is `doubt`. No
score is a probability of error; docs/log.md says how well each finds wrong predictions.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]  # (N,)

EPS = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Evidence about N samples from a finished run. NaN (or label -1) where unknown."""

    student: NDArray[np.float64]  # (N, K) the finished student's distribution
    teacher: NDArray[np.float64]  # (N, K) the teacher's at the end
    mean_probability: Scores  # the teacher's probability of its last label, averaged over the record
    flips: Scores  # how often the teacher's label changed
    steps: Scores  # how often the sample was recorded
    agreement: Scores  # share of the recorded steps at which student and teacher agreed
    mean_feedback: Scores  # F of the teacher's label, nats
    teacher_label: NDArray[np.int64]  # the teacher's label at the last recorded step
    best_label: NDArray[np.int64]  # the class with the highest F at the last recorded step
    mean_best_gain: Scores  # F of the best class above that of the teacher's label, nats
    settled: Scores  # when the teacher's label last changed, as a share of the record: 0 at once, 1 at the end
    label: NDArray[np.int64]  # the label to judge: the given one, or else the student's prediction
    given: NDArray[np.bool_]  # whether `label` was given
    classifier: NDArray[np.float64]  # (N, K) probabilities of the feature classifier (`mpl.gaussian_classifier`)
    neighbour_mean: NDArray[np.float64]  # (N, K) the same, averaged over the nearest neighbours
    similarity: Scores  # mean cosine similarity to the nearest neighbours
    unlike: Scores  # how unlike every class (`mpl.open_set`)
    duplicate_label: NDArray[np.int64]  # label of a near-duplicate, preferably one that differs; -1 if there is none


@dataclass(frozen=True, slots=True)
class Reason:
    """A score with the sentence that reviewers read."""

    score: Callable[[Evidence], Scores]
    sentence: str


def unsure(e: Evidence) -> Scores:
    """1 minus the teacher's mean probability of its last label over training."""
    return 1 - e.mean_probability


def disagreement(e: Evidence) -> Scores:
    """Share of the recorded steps at which student and teacher predicted different classes."""
    return 1 - e.agreement


def flips(e: Evidence) -> Scores:
    """Share of the recorded steps at which the teacher's label changed."""
    return np.where(e.steps > 1, e.flips / np.maximum(e.steps - 1, 1), np.where(np.isnan(e.flips), np.nan, 0.0))


def thin_margin(e: Evidence) -> Scores:
    """1 when the student's two best classes tie, 0 when it is certain."""
    second, first = np.sort(e.student, axis=1)[:, -2:].T
    return np.asarray(1 - (first - second))


def entropy(e: Evidence) -> Scores:
    """Entropy of the student's distribution as a share of its maximum, log K."""
    p = np.clip(e.student, EPS, 1)
    return np.asarray(-(p * np.log(p)).sum(1) / np.log(e.student.shape[1]))


def at_odds(e: Evidence) -> Scores:
    """Total variation distance of the two final distributions: 0 equal, 1 disjoint."""
    return np.asarray(np.abs(e.student - e.teacher).sum(1) / 2)


def harmful_feedback(e: Evidence) -> Scores:
    """Increase of the labelled loss by the teacher's label, scaled so that the 95th percentile is 1."""
    return _scaled(np.maximum(-e.mean_feedback, 0))


def prefers_another(e: Evidence) -> Scores:
    """How much more another class would have helped the student, scaled so that the 95th percentile is 1."""
    gain = np.where(e.best_label == e.teacher_label, 0.0, e.mean_best_gain)
    return _scaled(np.where(e.best_label < 0, np.nan, gain))


def feature_classifier(e: Evidence) -> Scores:
    """1 minus the feature classifier's probability of the prediction; NaN for given labels (see `mislabelled`)."""
    return np.where(e.given, np.nan, _against(e.classifier, e.label))


def neighbours_disagree(e: Evidence) -> Scores:
    """1 minus the mean probability of the label among the images nearest to this one."""
    return _against(e.neighbour_mean, e.label)


def late(e: Evidence) -> Scores:
    """When the teacher's label last changed, as a share of the record: 1 at the very end."""
    return e.settled


def outlier(e: Evidence) -> Scores:
    """Distance from the nearest neighbours: 0 up to the median distance, 1 from the 95th percentile."""
    known = ~np.isnan(e.similarity)
    middle = float(np.median(e.similarity[known])) if known.any() else 0.0
    return _scaled(np.maximum(middle - e.similarity, 0))


def unlike_any_class(e: Evidence) -> Scores:
    """How unlike every class an unlabelled sample is: 0 up to the median, 1 from the 95th percentile."""
    known = ~np.isnan(e.unlike) & ~e.given
    middle = float(np.median(e.unlike[known])) if known.any() else 0.0
    return np.where(e.given, np.nan, _scaled(np.maximum(e.unlike - middle, 0)))


def twin_differs(e: Evidence) -> Scores:
    """1 where a near-duplicate has another label, given or predicted; NaN without a near-duplicate."""
    return np.where((e.duplicate_label < 0) | (e.label < 0), np.nan, (e.duplicate_label != e.label).astype(np.float64))


def mislabelled(e: Evidence) -> Scores:
    """1 minus the feature classifier's probability of the given label; NaN without one."""
    return np.where(e.given, _against(e.classifier, e.label), np.nan)


REASONS: dict[str, Reason] = {
    "feature_classifier": Reason(feature_classifier, "a linear probe predicts another class"),
    "neighbours_disagree": Reason(neighbours_disagree, "nearest neighbours disagree"),
    "unsure": Reason(unsure, "low mean probability of the teacher"),
    "disagreement": Reason(disagreement, "teacher and student often disagree"),
    "flips": Reason(flips, "the teacher's prediction keeps changing"),
    "thin_margin": Reason(thin_margin, "small margin"),
    "entropy": Reason(entropy, "high entropy"),
    "at_odds": Reason(at_odds, "final predictions of teacher and student differ"),
    "harmful_feedback": Reason(harmful_feedback, "negative feedback: its pseudo-label raised the loss on your labels"),
    "prefers_another": Reason(prefers_another, "feedback favours another class"),
    "late": Reason(late, "the teacher's prediction settled late or never"),
    "outlier": Reason(outlier, "outlier"),
    "unlike_any_class": Reason(unlike_any_class, "unlike any class"),
    "twin_differs": Reason(twin_differs, "a near-duplicate has another label"),
    "mislabelled": Reason(mislabelled, "its label is probably wrong"),
}

# The default order, and the order for a run without embeddings; chosen on images of CIFAR-10's training set
# (docs/log.md). The second finds no more errors than the confidence of student and teacher does.
_DOUBT = ("feature_classifier", "neighbours_disagree")
_UNCERTAINTY = ("unsure", "entropy")


def score(evidence: Evidence) -> dict[str, Scores]:
    """Returns the scores (N,) of every reason by name.

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
    """Returns the default order (N,): the mean of the feature classifier's two reasons.

    Without embeddings, it is the mean of the known uncertainties of student and teacher; -1 if none is known.
    """
    doubted = np.stack([columns[name] for name in _DOUBT]).mean(0)
    uncertainty = np.stack([columns[name] for name in _UNCERTAINTY])
    known = ~np.isnan(uncertainty)
    mean = np.where(known, uncertainty, 0).sum(0) / np.maximum(known.sum(0), 1)
    return np.where(np.isnan(doubted), np.where(known.any(0), mean, -1.0), doubted)


def _against(probabilities: NDArray[np.float64], label: NDArray[np.int64]) -> Scores:
    """Returns 1 minus the probability of each label, NaN where there is no label."""
    return np.where(label < 0, np.nan, 1 - probabilities[np.arange(len(label)), np.maximum(label, 0)])


def _scaled(values: Scores) -> Scores:
    """Returns non-negative values divided by the 95th percentile of the positive ones, at most 1; NaN stays NaN."""
    above = values[values > 0]
    top = float(np.quantile(above, 0.95)) if above.size else 1.0
    return np.minimum(values / max(top, EPS), 1.0)
