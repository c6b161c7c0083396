"""Publishes snapshots: fits the classifier to the present labels and replaces the files that readers read.

As in a finished run, the student is a member of the pooled classifier. It is not cross-validated, because that would
train it five more times. The cross-validated accuracy is therefore that of the other members alone.

Shape legend    N samples    K classes
"""

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from gradebook.pipelines.curation import reason_cache
from gradebook.pipelines.curation.evidence import LiveEvidence
from gradebook.pipelines.curation.feature_classifier import read_predictions
from gradebook.pipelines.runs import PREDICTIONS, Run
from gradebook.pipelines.session.effects import Classes, Effects, EffectTracker, VerdictFeedback, write_effects
from gradebook.pipelines.session.snapshots import (
    ClassAccuracy,
    CurvePoint,
    Snapshot,
    extended,
    new_snapshot,
    read_snapshot,
    write_snapshot,
)
from gradebook.pipelines.session.warm_features import WarmFeatures
from gradebook.pipelines.training.cached_views import CachedViews
from gradebook.pipelines.training.dataset import TrainingSet
from gradebook.pipelines.training.evaluation import probabilities, probabilities_of_all
from gradebook.pipelines.training.final_classifier import VIEWED, linear_head
from gradebook.pipelines.training.finalize import predicted_samples, write_table
from gradebook.pipelines.training.sampler import Positions
from gradebook.pipelines.training.state import TrainState, log_accuracy
from gradebook.pipelines.training.student import save_student

if TYPE_CHECKING:
    from torch import Tensor

    from gradebook.mpl.pooled_classifier import PooledClassifier
    from gradebook.storage.events import Event
    from gradebook.storage.store import Store

FOLD_EVERY = 5  # snapshots: the reasons that come from the record follow it only so often


class Publisher:
    """Publishes the snapshots of one run."""

    def __init__(self, store: "Store", state: TrainState):
        """Computes everything that labels do not change.

        Args:
            store: the project.
            state: of the run; its inputs are cached views.
        """
        from gradebook.mpl.warm_pool import WarmPool

        assert isinstance(state.inputs, CachedViews), "the session's settings allow nothing else"
        features = state.inputs.plain_array()
        viewed = np.sort(np.random.default_rng(state.config.seed).permutation(len(features))[:VIEWED])
        self._pool = WarmPool(features, viewed, state.inputs.augmented_array, seed=state.config.seed)
        self._features = WarmFeatures(store, state.training_set.sample_ids, state.inputs.array())
        self._dynamics: Any = None  # of the run when its record was last folded
        self._unfolded = 0  # snapshots since
        self._store, self._run = store, Run(state.path)
        self._rows = {sample_id: row for row, sample_id in enumerate(state.training_set.sample_ids)}
        self._classes = _predicted_before(self._run, state)  # (N,) predicted class, -1 for none
        self._tracker = EffectTracker(state.training_set.classes, state.training_set.sample_ids)
        self._tracker.add(_known_labels(state.training_set), self._classes)
        self._pseudo_labels: tuple[Classes, Any] | None = None  # the teacher's classes and probabilities, (N,) each
        self.newest = read_snapshot(self._run)

    def publish(self, state: TrainState, events: int, verdict: "Event | None" = None) -> Snapshot:
        """Publishes a snapshot of a run's present networks and labels.

        Args:
            state: of the run; at least two classes have a label.
            events: of the log that its labels follow from.
            verdict: the newest of these that decides a sample.
        """
        training_set, number = state.training_set, self.newest.number + 1
        student, teacher = _opinions(state)
        fitted = self._fit(state, student)
        classifier = linear_head(fitted)
        positions = predicted_samples(training_set)
        predictions = probabilities(classifier, state.inputs, positions)
        effects, changed = self._effects(training_set, positions, predictions)
        newest = self._numbers(state, fitted, _agreement(student, teacher, training_set.unlabelled))
        newest = replace(newest, number=number, events=events, changed=changed)
        with new_snapshot(self._run, number) as draft:
            save_student(classifier, draft.results)
            of_teacher = None if teacher is None else teacher[positions]
            write_table(draft.results, training_set, positions, predictions, of_teacher)
            reason_cache.refresh(self._store, draft, self._evidence(draft, training_set))
            write_effects(draft.results, replace(effects, verdict=self._feedback(training_set, verdict)))
            write_snapshot(draft.results, newest)
        self.newest = newest
        if teacher is not None:
            self._pseudo_labels = teacher.argmax(-1).numpy(), teacher.max(-1).values.numpy()
        more = {"cross_validated_labels": newest.labels, "agreement": newest.agreement, "snapshot": number}
        log_accuracy(state, fitted.held_out_accuracy[-1], more)
        return newest

    def _evidence(self, draft: Run, training_set: TrainingSet) -> LiveEvidence:
        """Returns the evidence about a snapshot; that of the record may be some snapshots old."""
        if self._dynamics is None or self._unfolded >= FOLD_EVERY:
            self._store.record.fold(self._run.name, self._run.path / "record")
            self._dynamics, self._unfolded = self._store.record.dynamics(self._run.name), 0
        self._unfolded += 1
        classifier = self._features.output(read_predictions(draft), training_set.labels)
        return LiveEvidence(classifier=classifier, dynamics=self._dynamics)

    def _numbers(self, state: TrainState, fitted: "PooledClassifier", agreement: float | None) -> Snapshot:
        """Returns the numbers of a snapshot that follow from its classifier."""
        from gradebook.mpl.metrics import accuracy_interval

        training_set, accuracy = state.training_set, fitted.held_out_accuracy[-1]
        truth = training_set.labels[training_set.labels >= 0]
        right = fitted.held_out_classes == truth
        rows = [
            ClassAccuracy(name, int(right[truth == k].sum()), int((truth == k).sum()))
            for k, name in enumerate(training_set.classes)
            if (truth == k).any()
        ]
        return Snapshot(
            step=state.step,
            labels=len(truth),
            accuracy=accuracy,
            interval=accuracy_interval(accuracy, len(truth)),
            agreement=agreement,
            classes=tuple(sorted(rows, key=lambda row: (row.correct / row.labels, -row.labels))),
            curve=extended(self.newest.curve, CurvePoint(len(truth), accuracy, agreement)),
            taken=datetime.now(UTC).isoformat(timespec="milliseconds"),
        )

    def _fit(self, state: TrainState, student: "Tensor") -> "PooledClassifier":
        training_set = state.training_set
        return self._pool.fit(
            training_set.labels,
            len(training_set.classes),
            excluded=training_set.rejected,
            fixed={f"{state.config.method} student": student.numpy()},
        )

    def _effects(self, training_set: TrainingSet, positions: Positions, predictions: "Tensor") -> tuple[Effects, int]:
        """Returns what the newest labels changed, and how many predictions differ from the snapshot before."""
        before, after = self._classes, np.full(len(training_set.sample_ids), -1, np.int64)
        after[positions] = predictions.argmax(-1).numpy()
        self._classes = after
        changed = int(((before >= 0) & (after >= 0) & (before != after)).sum())
        return self._tracker.add(_known_labels(training_set), after), changed

    def _feedback(self, training_set: TrainingSet, verdict: "Event | None") -> VerdictFeedback | None:
        """Returns the teacher's pseudo-label of an image before it was decided."""
        if verdict is None or verdict.sample_id not in self._rows:
            return None
        known = VerdictFeedback(sample_id=verdict.sample_id, label=verdict.label)
        if self._pseudo_labels is None:
            return known
        row = self._rows[verdict.sample_id]
        feedback = self._mean_feedback(verdict.sample_id)
        return replace(
            known,
            pseudo_label=training_set.classes[self._pseudo_labels[0][row]],
            probability=float(self._pseudo_labels[1][row]),
            feedback=feedback,
        )

    def _mean_feedback(self, sample_id: str) -> float | None:
        """Returns the mean feedback of a sample's pseudo-label by the record, None without one."""
        import pyarrow.compute as pc

        rows = self._dynamics.filter(pc.field("sample_id") == sample_id)["mean_feedback"].to_pylist()
        return float(rows[0]) if rows and rows[0] is not None and np.isfinite(rows[0]) else None


def _known_labels(training_set: TrainingSet) -> Classes:
    """Returns the class (N,) of each label, -1 for none, and -2 for a rejected sample."""
    labels = training_set.labels.copy()
    labels[training_set.rejected] = -2
    return labels


def _opinions(state: TrainState) -> "tuple[Tensor, Tensor | None]":
    """Returns the probabilities (N, K) of the averaged student and of the teacher, if there is one, for all samples."""
    learners, positions = state.learners, np.arange(len(state.training_set.sample_ids))
    nets = [one.best_net() for one in (learners.student, learners.teacher) if one is not None]
    predictions = probabilities_of_all(nets, state.inputs, positions)
    return predictions[0], predictions[1] if len(predictions) > 1 else None


def _agreement(student: "Tensor", teacher: "Tensor | None", unlabelled: Positions) -> float | None:
    if teacher is None or not len(unlabelled):
        return None
    return float((student.argmax(-1) == teacher.argmax(-1))[unlabelled].float().mean())


def _predicted_before(run: Run, state: TrainState) -> Positions:
    """Returns the class (N,) that a resumed run's newest snapshot predicts for each sample, -1 for none."""
    ids = state.training_set.sample_ids
    classes = np.full(len(ids), -1, np.int64)
    if (run.results / PREDICTIONS).exists():
        predictions = read_predictions(run)
        position = {sample_id: k for k, sample_id in enumerate(ids)}
        rows = [position[sample_id] for sample_id in predictions.sample_ids]
        classes[rows] = predictions.student.argmax(1)
    return classes
