"""A method's student as a member of the pooled classifier: trained again without each fold's labels.

What the run's own student predicts for an image whose label it was trained on says nothing of how good it is. So the
method is trained once more for each fold of the labels, with the run's settings but half the steps and without a
record, and its student predicts every sample. On a CPU the folds are trained at the same time, one on each core.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradebook.pipelines.process.forks import can_fork, map_in_forks
from gradebook.pipelines.training import learners
from gradebook.pipelines.training.config import OptimConfig, TrainConfig
from gradebook.pipelines.training.dataset import TrainingSet
from gradebook.pipelines.training.evaluation import probabilities
from gradebook.pipelines.training.finetuning import finetuned_student
from gradebook.pipelines.training.state import TrainState

if TYPE_CHECKING:
    from torch import nn


class StudentMember:
    """Predicts every sample from some of the labels (`gradebook.mpl.pooled_classifier.Member`)."""

    def __init__(self, state: TrainState, student: "nn.Module", samples: NDArray[np.int64]):
        """Takes a run that has done its last step, and its finished student.

        Args:
            state: whose settings and training set are used.
            student: predicts where every label is kept.
            samples: (N,) positions in the training set of those to predict, in order.
        """
        self._state, self._student, self._samples = state, student, samples

    def __call__(self, kept: NDArray[np.bool_], y: NDArray[np.int64], classes: int) -> NDArray[np.floating]:
        """Returns the probabilities (F, N, K) of the students that are trained on the labels of each mask (F, n)."""
        if kept.all():
            return self._predictions(self._student)[None]
        on_cpu = self._state.backend.device.type == "cpu"
        with one_thread() if on_cpu else nullcontext():  # so that it makes no difference whether there are forks
            run = map_in_forks if on_cpu and can_fork() else map
            return np.stack(list(run(self._predictions_without, list(kept))))

    def _predictions_without(self, kept: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Trains on the labels of one mask (n,)."""
        state, training_set = self._state, self._state.training_set
        labelled = np.flatnonzero(training_set.labels >= 0)
        others, labels = labelled[~kept], training_set.labels.copy()
        labels[others] = -1
        fold = replace(
            training_set,
            labels=labels,
            labelled=labelled[kept],
            validation=np.empty(0, np.int64),
            unlabelled=np.union1d(training_set.unlabelled, others),
        )
        return self._predictions(train_student(state, fold, shortened(state.config)))

    def _predictions(self, student: "nn.Module") -> NDArray[np.float64]:
        predicted = probabilities(student, self._state.inputs, self._samples)
        return np.asarray(predicted.double().numpy())


def shortened(config: TrainConfig[Any]) -> TrainConfig[Any]:
    """Returns the settings of a fold's training: half the steps, which judge a student as well (docs/log.md)."""

    def half(optim: OptimConfig) -> OptimConfig:
        return replace(optim, wait_steps=optim.wait_steps // 2, warmup_steps=optim.warmup_steps // 2)

    return replace(config, steps=(config.steps + 1) // 2, student=half(config.student), teacher=half(config.teacher))


def train_student(state: TrainState, training_set: TrainingSet, config: TrainConfig[Any]) -> "nn.Module":
    """Returns the student that these settings and labels make of a run's inputs; writes nothing."""
    import torch

    from gradebook.mpl.step import SingleProcess

    device = state.backend.device
    made = learners.build(config, training_set, state.inputs, device)
    sampler = training_set.sampler(config)
    labels = torch.from_numpy(training_set.labels).to(device)
    batches = state.inputs.batches((sampler.draw(step) for step in range(config.steps)), labels)
    for step, batch in enumerate(batches):
        learners.train_step(made, batch, SingleProcess(), config, step, state.backend.accelerator)
    return finetuned_student(made, config, training_set, state.inputs, state.backend)


@contextmanager
def one_thread() -> Iterator[None]:
    """Has torch compute on one thread meanwhile."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
