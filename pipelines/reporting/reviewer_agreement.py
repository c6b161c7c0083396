"""Agreement between reviewers, from images that several of them answered without seeing each other's answers.

Shape legend    N images    K classes, and one more for rejected images
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradebook.pipelines.curation.second_answers import given_answers, to_answer
from gradebook.storage.events import Event, class_history, conflicts

if TYPE_CHECKING:
    from gradebook.storage.store import Store

Answers = Mapping[str, str | None]  # actor -> class, None if the image was rejected
REJECTED = ""  # no class has this name


@dataclass(frozen=True, slots=True, kw_only=True)
class PairAgreement:
    """The agreement of two reviewers on the images that both answered."""

    reviewers: tuple[str, str]
    images: int
    agreed: float  # share of the images
    kappa: float | None  # Cohen's; None where it is 0 / 0: both gave every image the same class


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewerAgreement:
    """The agreement of all reviewers of a project."""

    answers_per_image: int  # wanted, a setting of the project
    images: int  # with two or more answers
    agreed: int  # of these, all answers are the same
    conflicts: int  # of the others, not settled yet
    to_answer: int  # images that wait for a further answer of the person who asks
    fleiss_kappa: float | None  # over the images with as many answers as `rated_by`; None where it is undefined
    rated_by: int | None  # the most common number of answers, of two and more
    pairs: list[PairAgreement]

    def as_json(self) -> dict[str, Any]:
        """Returns the agreement as plain data."""
        return asdict(self)


def reviewer_agreement(store: "Store", *, actor: str) -> ReviewerAgreement:
    """Returns the agreement of the reviewers of a project, and what is left for `actor` to answer."""
    return measure_agreement(store.log.read(), store.project.answers, actor=actor)


def measure_agreement(events: Sequence[Event], wanted: int, *, actor: str) -> ReviewerAgreement:
    """Returns the agreement in a log of which `wanted` answers for each image are asked; see `reviewer_agreement`."""
    history = class_history(events)
    answers = given_answers(events, history)
    sizes = Counter(map(len, answers))
    rated_by = max(sizes, key=lambda size: (sizes[size], size), default=None)
    return ReviewerAgreement(
        answers_per_image=wanted,
        images=len(answers),
        agreed=sum(len(set(group.values())) == 1 for group in answers),
        conflicts=len(conflicts(events, history)),
        to_answer=len(to_answer(events, actor, wanted)),
        fleiss_kappa=None if rated_by is None else _rounded(fleiss_kappa(_counts(answers, rated_by))),
        rated_by=rated_by,
        pairs=pair_agreements(answers),
    )


def pair_agreements(given: Sequence[Answers]) -> list[PairAgreement]:
    """Returns the agreement of each two reviewers who answered the same images, most images first."""
    from sklearn.metrics import cohen_kappa_score

    names = sorted({actor for group in given for actor in group})
    rows = []
    for pair in combinations(names, 2):
        both = [[group[actor] or REJECTED for actor in pair] for group in given if set(pair) <= group.keys()]
        if not both:
            continue
        one, other = zip(*both, strict=True)
        is_defined = len({*one, *other}) > 1
        kappa = _rounded(float(cohen_kappa_score(one, other))) if is_defined else None
        agreed = sum(a == b for a, b in both) / len(both)
        rows.append(PairAgreement(reviewers=pair, images=len(both), agreed=round(agreed, 4), kappa=kappa))
    return sorted(rows, key=lambda row: -row.images)


def fleiss_kappa(counts: NDArray[np.int64]) -> float | None:
    """Returns Fleiss' kappa (Fleiss, 1971, https://doi.org/10.1037/h0031619), None where it is 0 / 0.

    Args:
        counts: (N, K) how many reviewers gave image i the class k; the same number of reviewers for each image.
    """
    reviewers = int(counts[0].sum())
    shares = counts.sum(0) / counts.sum()
    agreement = (counts * (counts - 1)).sum(1) / (reviewers * (reviewers - 1))
    by_chance = float((shares**2).sum())
    return None if by_chance == 1 else (float(agreement.mean()) - by_chance) / (1 - by_chance)


def describe(agreement: ReviewerAgreement) -> str:
    """Returns the agreement in lines."""
    if not agreement.images:
        lines = ["no image has answers of two reviewers yet"]
    else:
        lines = [f"{agreement.images} images with two or more answers, the same on {agreement.agreed}"]
        if agreement.fleiss_kappa is not None:
            lines.append(f"Fleiss' kappa, {agreement.rated_by} answers an image: {agreement.fleiss_kappa:.2f}")
        lines += [_pair_line(row) for row in agreement.pairs]
        lines.append(f"{agreement.conflicts} conflicts to settle")
    wanted = f"{agreement.answers_per_image} answers an image are wanted"
    return "\n".join([*lines, f"{wanted}; {agreement.to_answer} images wait for yours"])


def _pair_line(row: PairAgreement) -> str:
    kappa = "kappa undefined" if row.kappa is None else f"Cohen's kappa {row.kappa:.2f}"
    return f"  {' and '.join(row.reviewers)}: {row.images} images, {row.agreed:.0%} the same, {kappa}"


def _counts(given: Sequence[Answers], rated_by: int) -> NDArray[np.int64]:
    rated = [[label or REJECTED for label in group.values()] for group in given if len(group) == rated_by]
    names = sorted({label for labels in rated for label in labels})
    return np.array([[labels.count(name) for name in names] for labels in rated], dtype=np.int64)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
