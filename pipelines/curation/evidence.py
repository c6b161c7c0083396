"""Evidence: a run's results for samples, aligned row by row for the reasons. Loads no torch.

There are three sources, which cover different samples: the predictions of student and teacher, the feature classifier,
and the record. Values of a sample that a source does not cover are NaN.

Shape legend    N samples    K classes
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradebook.pipelines.curation.feature_classifier import (
    SAMPLES,
    FeatureClassifierOutput,
    Predictions,
    classes_of,
    classify_features,
    read_predictions,
)
from gradebook.pipelines.runs import PREDICTIONS, Run
from gradebook.storage.project import ProjectError
from gradebook.storage.run_classes import RunClasses

if TYPE_CHECKING:
    from gradebook.mpl.reasons import Evidence
    from gradebook.storage.store import Store

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleEvidence:
    """The evidence about N samples, and the data from which a batch is chosen."""

    sample_ids: list[str]
    classes: list[str]
    evidence: "Evidence"
    guess: Indices  # (N,) predicted by the student, or by the feature classifier for a given label
    probability: Floats  # (N,) of the guess
    space: NDArray[np.float32] | None  # (N, d) features; None if a sample has no embedding
    groups: Indices  # (N,) group of near-duplicates of each sample
    other_features: NDArray[np.float32] | None  # (M, d) of the run's other samples; None without embeddings
    predictions: Predictions  # of all samples of the run
    classifier: FeatureClassifierOutput | None  # of all samples of the run; None without embeddings


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveEvidence:
    """Evidence that a live session already has in memory."""

    classifier: FeatureClassifierOutput
    dynamics: Any  # training dynamics of the run, maybe of an earlier step: see `Record.dynamics`


def collect_evidence(
    store: "Store", run: Run, sample_ids: Sequence[str], given: Mapping[str, str], live: LiveEvidence | None = None
) -> SampleEvidence:
    """Returns the evidence of a finished run about samples; those without a prediction are left out.

    Args:
        store: the project.
        run: whose predictions.
        sample_ids: all without a label, or all with a label.
        given: the given labels to judge, sample_id -> class name; empty for samples without a label.
        live: sources that are not read again; None reads them all.

    Raises:
        ProjectError: the run has not finished, or labels are given and there are no embeddings.
    """
    check_finished(run)
    predictions = read_predictions(run, classes_of(store, run))
    classifier = classify_features(store, run, predictions) if live is None else live.classifier
    if given and classifier is None:
        raise ProjectError(
            f"checking given labels needs embeddings, and the images of {run.name} have none: "
            f"run: gradebook embed {store.project.root}"
        )
    covered = set(classifier.sample_ids.tolist() if given and classifier is not None else predictions.sample_ids)
    ids = [sample_id for sample_id in sample_ids if sample_id in covered]
    dynamics = _folded_dynamics(store, run) if live is None else live.dynamics
    index = {name: k for k, name in enumerate(predictions.classes)}
    index |= _old_names(classes_of(store, run), index)
    of_run = {**_align_record(_dynamics(dynamics, ids), index), "unlike": _unlike_any_class(run, ids, classifier)}
    evidence = _evidence(store, ids, given, predictions, classifier, of_run)
    predicted = evidence.classifier if given else evidence.student
    return _align(ids, evidence, predicted, predictions, classifier)


def unread_segments(store: "Store", run: Run) -> int:
    """Returns how many segments of a run's record cannot be brought into the tables, because the disk is read-only."""
    from gradebook.storage.segments import segments_in
    from gradebook.storage.store import tables_of

    if not tables_of(store.project).is_read_only():
        return 0
    return len((segments_in(run.path / "record") or {}).keys() - store.record.folded(run.name).keys())


def check_finished(run: Run) -> None:
    """Raises ProjectError if a run has not finished."""
    if not (run.results / PREDICTIONS).exists():
        raise ProjectError(
            f"run {run.name} has not finished, so it has no predictions yet: resume it, or choose another with --run"
        )


def _align(
    ids: list[str],
    evidence: "Evidence",
    predicted: Floats,
    predictions: Predictions,
    classifier: FeatureClassifierOutput | None,
) -> SampleEvidence:
    from gradebook.mpl.ranking import duplicate_groups

    c = classifier
    return SampleEvidence(
        sample_ids=ids,
        classes=predictions.classes,
        evidence=evidence,
        guess=predicted.argmax(1),
        probability=predicted.max(1),
        space=None if c is None else _space(c, ids),
        groups=np.arange(len(ids)) if c is None else _groups(c.sample_ids, duplicate_groups(c.duplicate_of), ids),
        other_features=None if c is None else c.space[~np.isin(c.sample_ids, np.array(ids))].astype(np.float32),
        predictions=predictions,
        classifier=classifier,
    )


def _folded_dynamics(store: "Store", run: Run) -> Any:
    store.record.fold(run.name, run.path / "record")
    return store.record.dynamics(run.name)


def _evidence(
    store: "Store",
    ids: list[str],
    given: Mapping[str, str],
    predictions: Predictions,
    classifier: FeatureClassifierOutput | None,
    of_run: Mapping[str, Any],
) -> "Evidence":
    from gradebook.mpl.reasons import Evidence

    index = {name: k for k, name in enumerate(predictions.classes)}
    student, teacher = _align_predictions(predictions, ids)
    probabilities, neighbour_mean, similarity = _align_classifier(classifier, ids, len(index), label_free=bool(given))
    label = np.array([index.get(given[i], -1) for i in ids], np.int64) if given else student.argmax(1)
    return Evidence(
        student=student,
        teacher=teacher,
        **of_run,
        label=label,
        given=np.full(len(ids), bool(given)),
        classifier=probabilities,
        neighbour_mean=neighbour_mean,
        similarity=similarity,
        duplicate_label=_duplicate_labels(store, ids, label, predictions, classifier),
    )


def _unlike_any_class(run: Run, ids: Sequence[str], classifier: FeatureClassifierOutput | None) -> Floats:
    """Returns how unlike every class the samples (N,) are, by the labelled and rejected samples of the run."""
    from gradebook.mpl.open_set import unlike_any_class

    if classifier is None:
        return np.full(len(ids), np.nan)
    all_ids = classifier.sample_ids.tolist()
    labelled, rejected = (_rows(all_ids, list(of)) for of in (run.labels(), _rejected(run)))
    unlike = unlike_any_class(classifier.space, labelled[labelled >= 0], rejected[rejected >= 0])
    return _take(all_ids, unlike, ids)


def _rejected(run: Run) -> set[str]:
    """Returns the rejected samples that a run has read so far."""
    saved = json.loads((run.path / SAMPLES).read_text(encoding="utf-8"))
    rejected = set(saved.get("rejected", ()))
    for change in run.changes():
        rejected = (rejected - change.labels.keys()) | set(change.rejected)
    return rejected


def _old_names(class_map: RunClasses, index: Mapping[str, int]) -> dict[str, int]:
    """Returns the names by which the record has the run's classes: name -> index of its present class."""
    return {name: index[class_map.names[k]] for name, k in class_map.column.items() if class_map.names[k] in index}


def _align_predictions(predictions: Predictions, ids: Sequence[str]) -> tuple[Floats, Floats]:
    """Returns the probabilities (N, K) of student and teacher."""
    student, teacher = (_take(predictions.sample_ids, rows, ids) for rows in (predictions.student, predictions.teacher))
    return student, teacher


def _align_classifier(
    classifier: FeatureClassifierOutput | None, ids: Sequence[str], classes: int, *, label_free: bool
) -> tuple[Floats, Floats, Floats]:
    """Returns the feature classifier's probabilities (N, K), their mean over the neighbours, and the similarity (N,).

    With `label_free` the probabilities are those of the classifier that was fitted without labels, to judge labels by.
    """
    if classifier is None:
        unknown = np.full((len(ids), classes), np.nan)
        return unknown, unknown.copy(), unknown[:, 0].copy()
    all_ids = classifier.sample_ids.tolist()
    probabilities = classifier.label_free if label_free else classifier.probabilities
    neighbour_mean = classifier.label_free_neighbour_mean if label_free else classifier.neighbour_mean
    return (
        _take(all_ids, probabilities, ids),
        _take(all_ids, neighbour_mean, ids),
        _take(all_ids, classifier.similarity, ids),
    )


def _align_record(dynamics: Any, index: Mapping[str, int]) -> dict[str, Any]:
    """Returns the fields of `Evidence` that come from the training dynamics of N samples."""
    names = ("mean_probability", "flips", "steps", "agreement", "mean_feedback", "mean_best_gain")
    length = np.maximum(_numbers(dynamics["last_step"]) - _numbers(dynamics["first_step"]), 1)
    return {
        **{name: _numbers(dynamics[name]) for name in names},
        "teacher_label": _class_indices(dynamics["teacher_label"], index),
        "best_label": _class_indices(dynamics["best_label"], index),
        "settled": (_numbers(dynamics["settled_step"]) - _numbers(dynamics["first_step"])) / length,
    }


def _duplicate_labels(
    store: "Store",
    ids: list[str],
    label: Indices,
    predictions: Predictions,
    classifier: FeatureClassifierOutput | None,
) -> Indices:
    """Returns the label of a near-duplicate of each sample, preferably one that differs; -1 if there is none."""
    from gradebook.storage.events import replay

    duplicate_labels = np.full(len(ids), -1, np.int64)
    if classifier is None:
        return duplicate_labels
    index = {name: k for k, name in enumerate(predictions.classes)}
    labels = dict(zip(predictions.sample_ids, predictions.student.argmax(1).tolist(), strict=True))
    labels |= {i: index.get(name, -1) for i, name in replay(store.log.read()).items()}
    position = {sample_id: k for k, sample_id in enumerate(ids)}
    for later in np.flatnonzero(classifier.duplicate_of >= 0).tolist():
        pair = str(classifier.sample_ids[later]), str(classifier.sample_ids[classifier.duplicate_of[later]])
        for one, other in (pair, pair[::-1]):
            k, name = position.get(one, -1), labels.get(other, -1)
            if k >= 0 and name >= 0 and duplicate_labels[k] in (-1, label[k]):
                duplicate_labels[k] = name
    return duplicate_labels


def _space(classifier: FeatureClassifierOutput, ids: Sequence[str]) -> NDArray[np.float32] | None:
    """Returns the features (N, d) of these samples, None if one of them has no embedding."""
    rows = _rows(classifier.sample_ids.tolist(), ids)
    return None if (rows < 0).any() else classifier.space[rows].astype(np.float32)


def _groups(all_ids: NDArray[np.str_], groups: Indices, ids: Sequence[str]) -> Indices:
    """Returns the groups (N,) of these ids; an unknown id is a group of its own."""
    aligned = _take(all_ids.tolist(), groups, ids)
    return np.where(np.isnan(aligned), len(groups) + np.arange(len(ids)), np.nan_to_num(aligned)).astype(np.int64)


def _rows(all_ids: Sequence[str], ids: Sequence[str]) -> Indices:
    """Returns the positions (N,) of these ids among the known ones, -1 for unknown ids."""
    position = {sample_id: row for row, sample_id in enumerate(all_ids)}
    return np.array([position.get(sample_id, -1) for sample_id in ids], np.int64)


def _take(all_ids: Sequence[str], table: NDArray[Any], ids: Sequence[str]) -> Floats:
    """Returns the rows (N, ...) of these ids in a table of the known ones, NaN for unknown ids."""
    rows = _rows(all_ids, ids)
    out = np.full((len(ids), *table.shape[1:]), np.nan)
    out[rows >= 0] = table[rows[rows >= 0]]
    return out


def _dynamics(dynamics: Any, ids: Sequence[str]) -> Any:
    """Returns the training dynamics of these samples in this order, null for samples that were never in a batch."""
    import pyarrow as pa

    position = {i: k for k, i in enumerate(dynamics["sample_id"].to_pylist())}
    return dynamics.take(pa.array([position.get(i) for i in ids], pa.int64()))


def _class_indices(column: Any, index: Mapping[str, int]) -> Indices:
    return np.array([index.get(name, -1) for name in column.to_pylist()], np.int64)


def _numbers(column: Any) -> Floats:
    return np.asarray(column.to_numpy(zero_copy_only=False), np.float64)
