"""Publishes snapshots: fits the classifier to the present labels and replaces the files that readers read.

The student is a member of the pooled classifier here as in a finished run, but it is not cross-validated, which would
train it five times more. So the cross-validated accuracy is that of the other members alone.

Shape legend    N samples    K classes
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from gradebook.pipelines.curation import reason_cache
from gradebook.pipelines.curation.feature_classifier import read_predictions
from gradebook.pipelines.runs import PREDICTIONS, Run
from gradebook.pipelines.session.snapshots import (
    ChangedPrediction,
    Snapshot,
    read_snapshot,
    write_changed,
    write_snapshot,
)
from gradebook.pipelines.training.cached_views import CachedViews
from gradebook.pipelines.training.evaluation import probabilities, probabilities_of_all
from gradebook.pipelines.training.final_classifier import VIEWED, linear_head
from gradebook.pipelines.training.finalize import write_table
from gradebook.pipelines.training.sampler import Positions
from gradebook.pipelines.training.state import TrainState, log_accuracy
from gradebook.pipelines.training.student import save_student

if TYPE_CHECKING:
    from torch import Tensor

    from gradebook.mpl.pooled_classifier import PooledClassifier
    from gradebook.storage.store import Store


class Publisher:
    """Publishes the snapshots of one run."""

    def __init__(self, store: "Store", state: TrainState):
        """Computes what no label changes.

        Args:
            store: the project.
            state: of the run; its inputs are cached views.
        """
        from gradebook.mpl.warm_pool import WarmPool

        assert isinstance(state.inputs, CachedViews), "the session's settings allow nothing else"
        features = state.inputs.plain_array()
        viewed = np.sort(np.random.default_rng(state.config.seed).permutation(len(features))[:VIEWED])
        self._pool = WarmPool(features, viewed, state.inputs.augmented_array, seed=state.config.seed)
        self._store, self._run = store, Run(state.path)
        self._classes = _predicted_before(self._run, state)  # (N,) predicted class, -1 for none
        self.newest = read_snapshot(self._run)

    def publish(self, state: TrainState, events: int) -> Snapshot:
        """Publishes a snapshot of a run's present networks and labels.

        Args:
            state: of the run; at least two classes have a label.
            events: of the log that its labels follow from.
        """
        training_set, path = state.training_set, self._run.path
        student, teacher = _opinions(state)
        fitted = self._fit(state, student)
        classifier = linear_head(fitted)
        positions = np.union1d(training_set.unlabelled, training_set.rejected)
        predictions = probabilities(classifier, state.inputs, positions)
        save_student(classifier, path)
        write_table(path, training_set, positions, predictions, None if teacher is None else teacher[positions])
        changed = self._changed(training_set.classes, training_set.sample_ids, positions, predictions)
        write_changed(path, changed)
        reason_cache.refresh(self._store, self._run)
        labels = int((training_set.labels >= 0).sum())
        self.newest = Snapshot(
            number=self.newest.number + 1,
            step=state.step,
            labels=labels,
            events=events,
            accuracy=fitted.held_out_accuracy[-1],
            agreement=_agreement(student, teacher, training_set.unlabelled),
            changed=len(changed),
            taken=datetime.now(UTC).isoformat(timespec="milliseconds"),
        )
        more = {"cross_validated_labels": labels, "agreement": self.newest.agreement, "snapshot": self.newest.number}
        log_accuracy(state, fitted.held_out_accuracy[-1], more)
        write_snapshot(path, self.newest)
        return self.newest

    def _fit(self, state: TrainState, student: "Tensor") -> "PooledClassifier":
        training_set = state.training_set
        return self._pool.fit(
            training_set.labels,
            len(training_set.classes),
            excluded=training_set.rejected,
            fixed={f"{state.config.method} student": student.numpy()},
        )

    def _changed(
        self, names: Sequence[str], ids: Sequence[str], positions: Positions, predictions: "Tensor"
    ) -> list[ChangedPrediction]:
        """Returns the samples that had a prediction of another class in the snapshot before, and remembers these."""
        before, after = self._classes, np.full(len(ids), -1, np.int64)
        after[positions] = predictions.argmax(-1).numpy()
        self._classes = after
        return [
            ChangedPrediction(sample_id=ids[k], before=names[before[k]], after=names[after[k]])
            for k in np.flatnonzero((before >= 0) & (after >= 0) & (before != after)).tolist()
        ]


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
    if (run.path / PREDICTIONS).exists():
        predictions = read_predictions(run)
        position = {sample_id: k for k, sample_id in enumerate(ids)}
        rows = [position[sample_id] for sample_id in predictions.sample_ids]
        classes[rows] = predictions.student.argmax(1)
    return classes
