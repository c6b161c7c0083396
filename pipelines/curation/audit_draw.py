"""Which pseudo-labels an audit is about, and which images it draws."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from gradebook.mpl import acceptance
from gradebook.pipelines.curation.audit_files import ALL, Group
from gradebook.pipelines.curation.feature_classifier import Predictions, classes_of, read_predictions
from gradebook.pipelines.runs import Run
from gradebook.storage.events import decisions
from gradebook.storage.project import ProjectError
from gradebook.storage.sample_files import changed_samples
from gradebook.storage.samples import Split

if TYPE_CHECKING:
    from gradebook.storage.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What an audit is to show."""

    target: float  # share of wrong labels that is tolerated
    confidence: float
    seed: int  # of the draw
    each_class: bool = False  # whether each class is tested by itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """The groups of an audit, and the images to answer."""

    groups: list[Group]
    drawn: tuple[str, ...]  # in random order
    expected_wrong: float  # among them, by the run's probabilities


def draw_groups(pool: Group, request: Request, *, attempt: int, excess: float) -> Draw | None:
    """Plans an audit and draws its images; None if none is worth its answers.

    Args:
        pool: the pseudo-labels, from `ranked_pool`.
        request: target, confidence, seed and groups.
        attempt: see `gradebook.mpl.acceptance.attempt_level`.
        excess: see `gradebook.mpl.acceptance.plan`.
    """
    names = sorted(set(pool.labels)) if request.each_class else [ALL]
    level = acceptance.attempt_level(request.confidence, attempt) / max(len(names), 1)
    random = np.random.default_rng(request.seed)
    groups, drawn, expected = list[Group](), list[str](), 0.0
    for name in names:
        part = pool if name == ALL else _only(pool, name)
        plan = acceptance.plan(np.array(part.probabilities), request.target, level, excess=excess)
        if plan is None:
            continue
        group = replace(part.rows(range(plan.size)), share=plan.share, level=level)
        index = {label: k for k, label in enumerate(sorted(set(group.labels)))}
        strata = acceptance.strata(np.array([index[label] for label in group.labels], np.int64), plan.size)
        drawn += np.array(group.sample_ids)[acceptance.draw(strata, plan.share, random)].tolist()
        expected += plan.share * plan.expected_wrong / excess
        groups.append(group)
    if not groups:
        return None
    return Draw(groups=groups, drawn=tuple(random.permutation(drawn).tolist()), expected_wrong=expected)


def undecided_pool(store: "Store", run: Run) -> Group:
    """Returns the undecided training images that a run predicted, most confident first, without former classes."""
    known, decided = classes_of(store, run), decisions(store.log.read())
    predictions = read_predictions(run, known)
    possible = {
        i
        for i, k in zip(predictions.sample_ids, predictions.student.argmax(1).tolist(), strict=True)
        if predictions.classes[k] not in known.former
    }
    samples = [s for s in store.catalog.samples(Split.TRAIN) if s.sample_id not in decided]
    changed = {s.sample_id for s in changed_samples(store.catalog, samples)}
    return ranked_pool(predictions, possible & {s.sample_id for s in samples} - changed)


def ranked_pool(predictions: Predictions, among: set[str]) -> Group:
    """Returns the pseudo-labels of these samples, that is the student's predictions, most confident first."""
    usable = [k for k, i in enumerate(predictions.sample_ids) if i in among]
    student = predictions.student[usable]
    label, confidence = student.argmax(1), student.max(1)
    order = np.argsort(-confidence, kind="stable").tolist()
    return Group(
        name=ALL,
        share=0.0,
        level=0.0,
        sample_ids=tuple(predictions.sample_ids[usable[k]] for k in order),
        labels=tuple(predictions.classes[label[k]] for k in order),
        probabilities=tuple(confidence[order].tolist()),
    )


def hopeless(pool: Group, target: float, excess: float) -> ProjectError:
    """Returns the error for a pool of which no audit is worth its answers."""
    if not pool.sample_ids:
        return ProjectError("the run predicted no image that is without a label: train a run, or import more images")
    head = np.array(pool.probabilities[: max(1, len(pool.probabilities) // 4)])
    wrong = min(1.0, float((1 - head).mean()) * excess)
    return ProjectError(
        f"no audit is worth its answers: of {len(pool.sample_ids)} images without a label, about {wrong:.1%} of the "
        f"most confident quarter are expected to be wrong, and {target:.1%} are tolerated: label more images and train "
        "again, or give a larger --error"
    )


def _only(pool: Group, label: str) -> Group:
    return replace(pool.rows([k for k, name in enumerate(pool.labels) if name == label]), name=label)
