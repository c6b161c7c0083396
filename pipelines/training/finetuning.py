"""Fine-tuning of the averaged student on the labels alone (Pham et al., 2021, section 3.1)."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.training.backend import Backend
from gradebook.pipelines.training.config import TrainConfig
from gradebook.pipelines.training.dataset import InputSource, TrainingSet
from gradebook.pipelines.training.learners import finetuning_learner

if TYPE_CHECKING:
    from torch import nn

    from gradebook.mpl.step import Learners


def finetuned_student(
    learners: "Learners", config: TrainConfig[Any], training_set: TrainingSet, inputs: InputSource, backend: Backend
) -> "nn.Module":
    """Returns the averaged student after a short training on the labels alone."""
    import torch

    from gradebook.mpl.methods import supervised
    from gradebook.mpl.step import StepIndex

    tuned = finetuning_learner(learners, config)
    labels = torch.from_numpy(training_set.labels).to(backend.device)
    batch_size = config.finetune_labelled or config.labelled
    sampler = replace(training_set.sampler(config), batch_labelled=batch_size, batch_unlabelled=0)
    steps = range(config.steps, config.steps + config.finetune_steps)
    draws = (sampler.draw(step, process=backend.process, processes=backend.processes) for step in steps)
    for at, batch in enumerate(inputs.batches(draws, labels)):
        backend.seed(config.seed, config.steps + at)
        with backend.accelerator.autocast():
            index = StepIndex(at, config.finetune_steps)
            supervised.step(tuned, batch, backend.runtime, supervised.Settings(), index)
        backend.end_step()
    return tuned.student.net.eval()
