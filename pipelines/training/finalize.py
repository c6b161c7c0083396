"""The end of a run: the student is fine-tuned and saved, and the predictions of student and teacher are written.

Shape legend    N samples    K classes
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.process.progress import say, stage
from gradebook.pipelines.process.run_status import State
from gradebook.pipelines.runs import PREDICTIONS
from gradebook.pipelines.training import trackers
from gradebook.pipelines.training.dataset import TrainingSet
from gradebook.pipelines.training.evaluation import probabilities_of_all
from gradebook.pipelines.training.final_classifier import fit_final_classifier
from gradebook.pipelines.training.finetuning import finetuned_student
from gradebook.pipelines.training.sampler import Positions
from gradebook.pipelines.training.state import (
    TrainState,
    full_network,
    full_teacher,
    log_accuracy,
    update_status,
    validate,
)
from gradebook.pipelines.training.student import save_student
from gradebook.storage import checksums
from gradebook.storage.files import atomic_path

if TYPE_CHECKING:
    from torch import Tensor, nn


MAX_LIST_ROWS = 1_000_000  # rows of a column of lists: its offsets are 32-bit numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The outcome of a training."""

    run: str
    state: State
    steps: int  # done in all, those before a resume included
    seconds: float  # this process trained, without loading data
    validation_accuracy: float | None  # of the run's classifier on labels that it did not learn from; None without them
    validation_labels: int  # how many these are; by cross-validation, all


def finish(state: TrainState, *, at_any_step: bool = False) -> Result | None:
    """Ends a run, and saves the student and the predictions unless the run was stopped before its last step.

    Every process calls this; the main process returns the result.

    Args:
        state: of the run.
        at_any_step: whether each step may be the last one, as in a live session.
    """
    stage("Saving the student and its predictions")
    state.recorder.close()
    finished = at_any_step or state.step == state.config.steps
    networks = _final_networks(state) if finished else None
    if not state.backend.is_main:
        return None
    validation_labels = len(state.training_set.validation)
    if networks is not None:
        student, teacher = networks
        classifier, validation_labels = _classifier(state, student)
        save_student(classifier, state.path)
        write_predictions(state, classifier, teacher)
    seconds = time.perf_counter() - state.started
    trackers.finish(state.backend.accelerator)
    outcome = State.FINISHED if finished else State.STOPPED
    update_status(state, outcome)
    return Result(
        run=state.config.run,
        state=outcome,
        steps=state.step,
        seconds=round(seconds, 3),
        validation_accuracy=state.accuracy,
        validation_labels=validation_labels,
    )


def _final_networks(state: TrainState) -> "tuple[nn.Module, nn.Module | None]":
    """Returns the fine-tuned student and the teacher, if there is one, with all their weights."""
    tuned = finetuned_student(state.learners, state.config, state.training_set, state.inputs, state.backend)
    return full_network(state, tuned), full_teacher(state)


def _classifier(state: TrainState, student: "nn.Module") -> "tuple[nn.Module, int]":
    """Returns what the run predicts with, and on how many labels its accuracy was measured, which is logged."""
    if state.config.classifier == "pooled":
        stage("Pooling the student with other classifiers")
        final = fit_final_classifier(state, student)
        if final is not None:
            log_accuracy(state, final.accuracy, final.as_metrics())
            return final.net, final.labels
        say("only one class has labels: the run predicts with its student, without the pooled classifier")
    validate(state, student)
    return student, len(state.training_set.validation)


def write_predictions(state: TrainState, student: "nn.Module", teacher: "nn.Module | None") -> None:
    """Writes the final probabilities of every sample without a label into the run's directory."""
    positions = predicted_samples(state.training_set)
    nets = [student] if teacher is None else [student, teacher]
    predictions = probabilities_of_all(nets, state.inputs, positions)
    write_table(state.path, state.training_set, positions, predictions[0], None if teacher is None else predictions[1])


def predicted_samples(training_set: TrainingSet) -> Positions:
    """Returns the positions of the samples that a run predicts: those without a label.

    Rejected samples are among them, as a rejection may be undone. In a live session every sample may have a label; then
    they are all samples.
    """
    import numpy as np

    positions = np.union1d(training_set.unlabelled, training_set.rejected)
    return positions if len(positions) else np.arange(len(training_set.sample_ids))


def write_table(
    path: Path, training_set: TrainingSet, positions: Positions, student: "Tensor", teacher: "Tensor | None"
) -> None:
    """Writes predictions into the run's directory `path`, atomically.

    Args:
        path: of the run.
        training_set: gives classes and sample ids.
        positions: (M,) of the samples.
        student: (M, K) its probabilities.
        teacher: (M, K) its probabilities; None where there is no teacher.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    column = _list_column(student)
    table = pa.table(
        {
            "sample_id": pa.array([training_set.sample_ids[p] for p in positions], pa.string()),
            "teacher": pa.nulls(len(positions), column.type) if teacher is None else _list_column(teacher),
            "student": column,
        }
    ).replace_schema_metadata({b"classes": json.dumps(list(training_set.classes)).encode()})
    with atomic_path(path / PREDICTIONS) as temporary:
        pq.write_table(table, temporary, compression="zstd")
        checksums.append(path / PREDICTIONS, temporary)


def _list_column(rows: "Tensor") -> Any:
    """Returns rows (N, K) as a column of lists, without a Python number for each value."""
    import numpy as np
    import pyarrow as pa

    def column(part: "Tensor") -> Any:
        n, k = part.shape
        return pa.ListArray.from_arrays(np.arange(n + 1, dtype=np.int32) * k, part.numpy().ravel())

    return pa.chunked_array([column(part) for part in rows.split(MAX_LIST_ROWS)])
