"""Evidence: what a run left behind about samples, aligned row by row for the reasons. Loads no torch.

It comes from three sources, each of which knows other samples: the predictions of student and teacher, the feature
classifier, and the record. A sample that a source does not know has NaN there.

Shape legend    N samples    K classes
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradebook.pipelines.curation.feature_classifier import (
    FeatureClassifierOutput,
    Predictions,
    classify_features,
    read_predictions,
)
from gradebook.pipelines.runs import PREDICTIONS, Run
from gradebook.storage.project import ProjectError

if TYPE_CHECKING:
    from gradebook.mpl.reasons import Evidence
    from gradebook.storage.store import Store

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleEvidence:
    """The evidence about N samples, and what a batch of them is chosen by."""

    sample_ids: list[str]
    classes: list[str]
    evidence: "Evidence"
    guess: Indices  # (N,) predicted by the student, or by the feature classifier where a label was given
    probability: Floats  # (N,) of the guess
    space: NDArray[np.float32] | None  # (N, d), None where a sample has no vectors
    groups: Indices  # (N,) near-duplicates have the same number
    beside: NDArray[np.float32] | None  # (M, d) the run's samples that were not asked about; None without vectors
    predictions: Predictions  # of all the run's samples
    classifier: FeatureClassifierOutput | None  # of all the run's samples; None without vectors


def collect_evidence(store: "Store", run: Run, sample_ids: Sequence[str], given: Mapping[str, str]) -> SampleEvidence:
    """Returns the evidence of a finished run about samples; those without a prediction are left out.

    Args:
        store: the project.
        run: whose predictions.
        sample_ids: samples without a label, or with one, but not both kinds at once.
        given: the labels in question: sample_id -> class name; empty for predictions.

    Raises:
        ProjectError: the run has not finished, or given labels are asked about and there are no vectors.
    """
    check_finished(run)
    predictions = read_predictions(run)
    classifier = classify_features(store, run, predictions)
    if given and classifier is None:
        raise ProjectError(
            f"given labels are judged by vectors, and the images of {run.name} have none: "
            f"run: gradebook embed {store.project.root}"
        )
    known = set(classifier.sample_ids.tolist() if given and classifier is not None else predictions.sample_ids)
    ids = [sample_id for sample_id in sample_ids if sample_id in known]
    return _align(store, run, ids, given, predictions, classifier)


def check_finished(run: Run) -> None:
    """Raises ProjectError where a run has not finished."""
    if not (run.path / PREDICTIONS).exists():
        raise ProjectError(
            f"run {run.name} has not finished, so it has no opinion yet: go on with it, or choose another with --run"
        )


def _align(
    store: "Store",
    run: Run,
    ids: list[str],
    given: Mapping[str, str],
    predictions: Predictions,
    classifier: FeatureClassifierOutput | None,
) -> SampleEvidence:
    from gradebook.mpl.ranking import groups_of

    evidence = _evidence(store, run, ids, given, predictions, classifier)
    predicted = evidence.reading if given else evidence.student
    c = classifier
    return SampleEvidence(
        sample_ids=ids,
        classes=predictions.classes,
        evidence=evidence,
        guess=predicted.argmax(1),
        probability=predicted.max(1),
        space=None if c is None else _space(c, ids),
        groups=np.arange(len(ids)) if c is None else _groups(c.sample_ids, groups_of(c.twins), ids),
        beside=None if c is None else c.space[~np.isin(c.sample_ids, np.array(ids))].astype(np.float32),
        predictions=predictions,
        classifier=classifier,
    )


def _evidence(
    store: "Store",
    run: Run,
    ids: list[str],
    given: Mapping[str, str],
    predictions: Predictions,
    classifier: FeatureClassifierOutput | None,
) -> "Evidence":
    from gradebook.mpl.reasons import Evidence

    index = {name: k for k, name in enumerate(predictions.classes)}
    student, teacher = _align_predictions(predictions, ids)
    probabilities, around, similarity = _align_classifier(classifier, ids, len(index), label_free=bool(given))
    label = np.array([index.get(given[i], -1) for i in ids], np.int64) if given else student.argmax(1)
    return Evidence(
        student=student,
        teacher=teacher,
        **_align_record(store, run, ids, index),
        label=label,
        given=np.full(len(ids), bool(given)),
        reading=probabilities,
        around=around,
        similarity=similarity,
        twin_label=_twin_labels(store, ids, label, predictions, classifier),
    )


def _align_predictions(predictions: Predictions, ids: Sequence[str]) -> tuple[Floats, Floats]:
    """Returns the probabilities (N, K) of student and teacher."""
    student, teacher = (_take(predictions.sample_ids, rows, ids) for rows in (predictions.student, predictions.teacher))
    return student, teacher


def _align_classifier(
    classifier: FeatureClassifierOutput | None, ids: Sequence[str], classes: int, *, label_free: bool
) -> tuple[Floats, Floats, Floats]:
    """Returns the feature classifier's probabilities (N, K), their mean over the neighbours, and the similarity (N,).

    With `label_free` the probabilities are those of the classifier that has seen no label, to judge labels by.
    """
    if classifier is None:
        nothing = np.full((len(ids), classes), np.nan)
        return nothing, nothing.copy(), nothing[:, 0].copy()
    there = classifier.sample_ids.tolist()
    probabilities = classifier.label_free if label_free else classifier.probabilities
    around = classifier.label_free_around if label_free else classifier.around
    return _take(there, probabilities, ids), _take(there, around, ids), _take(there, classifier.similarity, ids)


def _align_record(store: "Store", run: Run, ids: Sequence[str], index: Mapping[str, int]) -> dict[str, Any]:
    """Returns the fields of `Evidence` that come from the record of the run."""
    store.record.fold(run.name, run.path / "record")
    dynamics = _dynamics(store.record.dynamics(run.name), ids)
    names = ("mean_probability", "flips", "steps", "agreement", "mean_feedback", "mean_best_gain")
    length = np.maximum(_numbers(dynamics["last_step"]) - _numbers(dynamics["first_step"]), 1)
    return {
        **{name: _numbers(dynamics[name]) for name in names},
        "teacher_label": _class_indices(dynamics["teacher_label"], index),
        "best_label": _class_indices(dynamics["best_label"], index),
        "settled": (_numbers(dynamics["settled_step"]) - _numbers(dynamics["first_step"])) / length,
    }


def _twin_labels(
    store: "Store",
    ids: list[str],
    label: Indices,
    predictions: Predictions,
    classifier: FeatureClassifierOutput | None,
) -> Indices:
    """Returns the label of each sample's near-duplicate, one that differs if there is one; -1 without any."""
    from gradebook.storage.events import replay

    twin_labels = np.full(len(ids), -1, np.int64)
    if classifier is None:
        return twin_labels
    index = {name: k for k, name in enumerate(predictions.classes)}
    labels = dict(zip(predictions.sample_ids, predictions.student.argmax(1).tolist(), strict=True))
    labels |= {i: index.get(name, -1) for i, name in replay(store.log.read()).items()}
    position = {sample_id: k for k, sample_id in enumerate(ids)}
    for later in np.flatnonzero(classifier.twins >= 0).tolist():
        pair = str(classifier.sample_ids[later]), str(classifier.sample_ids[classifier.twins[later]])
        for one, other in (pair, pair[::-1]):
            k, name = position.get(one, -1), labels.get(other, -1)
            if k >= 0 and name >= 0 and twin_labels[k] in (-1, label[k]):
                twin_labels[k] = name
    return twin_labels


def _space(classifier: FeatureClassifierOutput, ids: Sequence[str]) -> NDArray[np.float32] | None:
    """Returns the vectors (N, d) of these samples, None where one of them has none."""
    rows = _rows(classifier.sample_ids.tolist(), ids)
    return None if (rows < 0).any() else classifier.space[rows].astype(np.float32)


def _groups(there: NDArray[np.str_], groups: Indices, ids: Sequence[str]) -> Indices:
    """Returns the groups of these ids; one that is not there is a group of its own."""
    aligned = _take(there.tolist(), groups, ids)
    return np.where(np.isnan(aligned), len(groups) + np.arange(len(ids)), np.nan_to_num(aligned)).astype(np.int64)


def _rows(there: Sequence[str], ids: Sequence[str]) -> Indices:
    """Returns the rows (N,) of these ids, -1 for those that are not there."""
    position = {sample_id: row for row, sample_id in enumerate(there)}
    return np.array([position.get(sample_id, -1) for sample_id in ids], np.int64)


def _take(there: Sequence[str], table: NDArray[Any], ids: Sequence[str]) -> Floats:
    """Returns the rows (N, ...) of these ids, NaN for those that are not there."""
    rows = _rows(there, ids)
    out = np.full((len(ids), *table.shape[1:]), np.nan)
    out[rows >= 0] = table[rows[rows >= 0]]
    return out


def _dynamics(dynamics: Any, ids: Sequence[str]) -> Any:
    """Returns the dynamics of these samples in this order, nulls for those that were never drawn."""
    import pyarrow as pa

    position = {i: k for k, i in enumerate(dynamics["sample_id"].to_pylist())}
    return dynamics.take(pa.array([position.get(i) for i in ids], pa.int64()))


def _class_indices(column: Any, index: Mapping[str, int]) -> Indices:
    return np.array([index.get(name, -1) for name in column.to_pylist()], np.int64)


def _numbers(column: Any) -> Floats:
    return np.asarray(column.to_numpy(zero_copy_only=False), np.float64)
