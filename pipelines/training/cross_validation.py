"""A method's student as a member of the pooled classifier: trained again without each fold's labels.

What the run's own student predicts for an image whose label it was trained on says nothing of how good it is. So the
method is trained once more for each fold of the labels, with the run's settings and without a record, and its student
predicts every sample.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gradebook.pipelines.process.progress import progress
from gradebook.pipelines.training import learners
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
        """Returns the probabilities (N, K) of the student that is trained on the kept labels."""
        training_set = self._state.training_set
        labelled = np.flatnonzero(training_set.labels >= 0)
        student = self._student if kept.all() else self._trained_on(labelled[kept], labelled[~kept])
        return np.asarray(probabilities(student, self._state.inputs, self._samples).double().numpy())

    def _trained_on(self, labelled: NDArray[np.int64], others: NDArray[np.int64]) -> "nn.Module":
        state = self._state
        labels = state.training_set.labels.copy()
        labels[others] = -1
        training_set = replace(
            state.training_set,
            labels=labels,
            labelled=labelled,
            validation=np.empty(0, np.int64),
            unlabelled=np.union1d(state.training_set.unlabelled, others),
        )
        return train_student(state, training_set)


def train_student(state: TrainState, training_set: TrainingSet) -> "nn.Module":
    """Returns the student that a run's settings make of other labels; writes nothing."""
    import torch

    from gradebook.mpl.step import SingleProcess

    config, device = state.config, state.backend.device
    made = learners.build(config, training_set, state.inputs, device)
    sampler = training_set.sampler(config)
    labels = torch.from_numpy(training_set.labels).to(device)
    batches = state.inputs.batches((sampler.draw(step) for step in range(config.steps)), labels)
    with progress("cross-validate", config.steps) as show:
        for step, batch in enumerate(batches):
            learners.train_step(made, batch, SingleProcess(), config, step, state.backend.accelerator)
            show(step + 1)
    return finetuned_student(made, config, training_set, state.inputs, state.backend)
