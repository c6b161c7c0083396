"""The end of a run: the student is fine-tuned and saved, and the predictions of student and teacher are written.

Shape legend    N samples    K classes
"""

import json
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.process.progress import stage
from gradebook.pipelines.runs import PREDICTIONS, State
from gradebook.pipelines.training import trackers
from gradebook.pipelines.training.evaluation import probabilities_of_all
from gradebook.pipelines.training.learners import finetuning_learner
from gradebook.pipelines.training.state import TrainState, full_network, update_status, validate
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
    validation_accuracy: float | None  # the student's newest; None where there are no validation labels
    validation_labels: int  # how many labels were held out


def finish(state: TrainState) -> Result | None:
    """Ends a run, and saves the student and the predictions unless the run was stopped before its last step.

    Every process calls this; the main process returns the result.
    """
    stage("Saving the student and its predictions")
    state.recorder.close()
    finished = state.step == state.config.steps
    networks = _final_networks(state) if finished else None
    if not state.backend.is_main:
        return None
    seconds = time.perf_counter() - state.started
    if networks is not None:
        student, teacher = networks
        save_student(student, state.path)
        write_predictions(state, student, teacher)
        validate(state, student)
    trackers.finish(state.backend.accelerator)
    outcome = State.FINISHED if finished else State.STOPPED
    update_status(state, outcome)
    return Result(
        run=state.config.run,
        state=outcome,
        steps=state.step,
        seconds=round(seconds, 3),
        validation_accuracy=state.accuracy,
        validation_labels=len(state.training_set.validation),
    )


def _final_networks(state: TrainState) -> "tuple[nn.Module, nn.Module | None]":
    """Returns the fine-tuned student and the teacher, if there is one, with all their weights."""
    student = full_network(state, finetuned_student(state))
    if state.learners.teacher is None:
        return student, None
    return student, full_network(state, state.learners.teacher.best_net(), state.config.teacher_backbone)


def finetuned_student(state: TrainState) -> "nn.Module":
    """Returns the averaged student after a short training on the labels alone (Pham et al., 2021, section 3.1)."""
    import torch

    from gradebook.mpl.methods import supervised
    from gradebook.mpl.step import Clock

    config, backend = state.config, state.backend
    tuned = finetuning_learner(state.learners, config)
    labels = torch.from_numpy(state.training_set.labels).to(backend.device)
    batch_size = config.finetune_labelled or config.labelled
    sampler = replace(state.training_set.sampler(config), batch_labelled=batch_size, batch_unlabelled=0)
    steps = range(config.steps, config.steps + config.finetune_steps)
    draws = (sampler.draw(step, process=backend.process, processes=backend.processes) for step in steps)
    for at, batch in enumerate(state.inputs.batches(draws, labels)):
        backend.seed(config.seed, config.steps + at)
        with backend.accelerator.autocast():
            clock = Clock(at, config.finetune_steps)
            supervised.step(tuned, batch, backend.runtime, supervised.Settings(), clock)
        backend.end_step()
    return tuned.student.net.eval()


def write_predictions(state: TrainState, student: "nn.Module", teacher: "nn.Module | None") -> None:
    """Writes the final probabilities of every sample without a label into the run's directory.

    Rejected samples are among them, as a rejection may be undone.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    training_set = state.training_set
    positions = np.union1d(training_set.unlabelled, training_set.rejected)
    nets = [student] if teacher is None else [student, teacher]
    columns = [_list_column(rows) for rows in probabilities_of_all(nets, state.inputs, positions)]
    table = pa.table(
        {
            "sample_id": pa.array([training_set.sample_ids[p] for p in positions], pa.string()),
            "teacher": pa.nulls(len(positions), columns[0].type) if teacher is None else columns[1],
            "student": columns[0],
        }
    ).replace_schema_metadata({b"classes": json.dumps(list(training_set.classes)).encode()})
    with atomic_path(state.path / PREDICTIONS) as temporary:
        pq.write_table(table, temporary, compression="zstd")
        checksums.append(state.path / PREDICTIONS, temporary)


def _list_column(rows: "Tensor") -> Any:
    """Returns rows (N, K) as a column of lists, without a Python number for each value."""
    import numpy as np
    import pyarrow as pa

    def column(part: "Tensor") -> Any:
        n, k = part.shape
        return pa.ListArray.from_arrays(np.arange(n + 1, dtype=np.int32) * k, part.numpy().ravel())

    return pa.chunked_array([column(part) for part in rows.split(MAX_LIST_ROWS)])
