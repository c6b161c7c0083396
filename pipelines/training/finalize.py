"""What a run comes to: its finished student, and what student and teacher think of every sample.

Shape legend    N samples    K classes
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.runs import PREDICTIONS
from gradebook.pipelines.training import xla
from gradebook.pipelines.training.config import TrainConfig
from gradebook.pipelines.training.dataset import InputSource, TrainingSet
from gradebook.pipelines.training.learners import finetuning_learner
from gradebook.pipelines.training.sampler import Positions
from gradebook.storage import checksums
from gradebook.storage.files import atomic_path

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor, nn

    from gradebook.mpl.step import Learners, Opinions


MAX_LIST_ROWS = 1_000_000  # rows of a column of lists: where one ends is a 32-bit number


def finetuned_student(
    learners: "Learners",
    config: TrainConfig[Any],
    training_set: TrainingSet,
    source: InputSource,
    accelerator: "Accelerator",
) -> "nn.Module":
    """Returns the averaged student after a short training on the labels alone (Pham et al., 2021, section 3.1)."""
    import torch

    from gradebook.mpl.methods import supervised
    from gradebook.mpl.step import Clock

    tuned = finetuning_learner(learners, config)
    labels = torch.from_numpy(training_set.labels).to(accelerator.device)
    sampler = replace(
        training_set.sampler(config), batch_labelled=config.finetune_labelled or config.labelled, batch_unlabelled=0
    )
    rank, processes, runtime = accelerator.process_index, accelerator.num_processes, xla.runtime(accelerator)
    after = range(config.steps, config.steps + config.finetune_steps)
    draws = (sampler.draw(at, process=rank, processes=processes) for at in after)
    for at, batch in enumerate(source.batches(draws, labels)):
        xla.seed(accelerator.device, config.seed, config.steps + at, rank)
        with accelerator.autocast():
            supervised.step(tuned, batch, runtime, supervised.Settings(), Clock(at, config.finetune_steps))
        xla.send(accelerator.device)
    return tuned.student.net.eval()


def probabilities(net: "nn.Module", source: InputSource, positions: Positions, *, chunk: int = 256) -> "Tensor":
    """Returns what a network thinks of these samples without augmentation: (N, K) on the CPU."""
    (found,) = _probabilities([net], source, positions, chunk=chunk)
    return found


def validation_accuracy(net: "nn.Module", source: InputSource, training_set: TrainingSet) -> float | None:
    """Returns the share of held-out labels that the network finds; None where none is held out."""
    if len(training_set.validation) == 0:
        return None
    found = probabilities(net, source, training_set.validation).argmax(-1).numpy()
    return float((found == training_set.labels[training_set.validation]).mean())


def pseudo_label_accuracy(
    training_set: TrainingSet, opinions: "Opinions | None", samples: "Tensor"
) -> "dict[str, Tensor]":
    """Returns the share of a step's pseudo-labels that are right, where the truth is known: for watching alone.

    Args:
        training_set: see `TrainingSet`.
        opinions: of the step.
        samples: (U,) whom they are of.
    """
    import torch

    if training_set.truth is None or opinions is None or opinions.teacher_label is None:
        return {}
    truth = torch.from_numpy(training_set.truth).to(samples.device)[samples]
    right = (opinions.teacher_label == truth).float()
    known = truth >= 0
    return {"pseudo_label_accuracy": (right * known).sum() / known.sum().clamp_min(1)}


def student_predictions(learners: "Learners", weak: "Tensor") -> "Opinions":
    """Returns the record's rows for a step that asked nobody's opinion: the student's, of the weak views (U, ...)."""
    import torch

    from gradebook.mpl.step import evaluating, full, opinions

    with torch.no_grad(), evaluating(learners.student.net) as net:
        return opinions(student=full(net(weak)))


def write_predictions(
    student: "nn.Module", teacher: "nn.Module | None", source: InputSource, training_set: TrainingSet, path: Path
) -> None:
    """Writes what both think at the end of every sample without a label, into the run's directory `path`."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    positions = np.union1d(training_set.unlabelled, training_set.rejected)  # an answer may be taken back
    nets = [student] if teacher is None else [student, teacher]
    said = [_lists(found) for found in _probabilities(nets, source, positions, chunk=256)]
    table = pa.table(
        {
            "sample_id": pa.array([training_set.sample_ids[p] for p in positions], pa.string()),
            "teacher": pa.nulls(len(positions), said[0].type) if teacher is None else said[1],
            "student": said[0],
        }
    ).replace_schema_metadata({b"classes": json.dumps(list(training_set.classes)).encode()})
    with atomic_path(path / PREDICTIONS) as temporary:
        pq.write_table(table, temporary, compression="zstd")
        checksums.append(path / PREDICTIONS, temporary)


def _lists(rows: "Tensor") -> Any:
    """Returns rows (N, K) as a column of lists, without making a Python number of each."""
    import numpy as np
    import pyarrow as pa

    def column(part: "Tensor") -> Any:
        n, k = part.shape
        return pa.ListArray.from_arrays(np.arange(n + 1, dtype=np.int32) * k, part.numpy().ravel())

    return pa.chunked_array([column(part) for part in rows.split(MAX_LIST_ROWS)])


def _probabilities(nets: "list[nn.Module]", source: InputSource, positions: Positions, *, chunk: int) -> "list[Tensor]":
    """Returns what each network thinks, (N, K) each; every image is read once for all of them."""
    import torch

    from gradebook.mpl.step import evaluating, full

    parts: list[list[Tensor]] = [[] for _ in nets]
    with torch.no_grad():
        for x in source.plain(positions, chunk=chunk):
            for net, part in zip(nets, parts, strict=True):
                with evaluating(net):
                    part.append(full(net(x)).softmax(-1).cpu())
    return [torch.cat(part) if part else torch.zeros(0, 0) for part in parts]
