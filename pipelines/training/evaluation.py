"""What a run's networks predict for its own samples, during training and at its end.

Shape legend    N samples    K classes    U unlabelled images of a step
"""

from typing import TYPE_CHECKING

from gradebook.pipelines.training.dataset import InputSource, TrainingSet
from gradebook.pipelines.training.sampler import Positions

if TYPE_CHECKING:
    from torch import Tensor, nn

    from gradebook.mpl.step import Learners, StepPredictions

BATCH = 256  # samples evaluated at once


def probabilities(net: "nn.Module", inputs: InputSource, positions: Positions) -> "Tensor":
    """Returns a network's probabilities for these samples without augmentation: (N, K) on the CPU."""
    (result,) = probabilities_of_all([net], inputs, positions)
    return result


def probabilities_of_all(nets: "list[nn.Module]", inputs: InputSource, positions: Positions) -> "list[Tensor]":
    """Returns the probabilities (N, K) of each network; every sample is loaded once for all of them."""
    import torch

    from gradebook.mpl.step import at_least_float32, evaluating

    parts: list[list[Tensor]] = [[] for _ in nets]
    with torch.no_grad():
        for x in inputs.unaugmented(positions, batch=BATCH):
            for net, part in zip(nets, parts, strict=True):
                with evaluating(net):
                    part.append(at_least_float32(net(x)).softmax(-1).cpu())
    return [torch.cat(part) if part else torch.zeros(0, 0) for part in parts]


def validation_accuracy(net: "nn.Module", inputs: InputSource, training_set: TrainingSet) -> float | None:
    """Returns the share of validation labels that the network predicts; None where there are none."""
    if len(training_set.validation) == 0:
        return None
    predicted = probabilities(net, inputs, training_set.validation).argmax(-1).numpy()
    return float((predicted == training_set.labels[training_set.validation]).mean())


def pseudo_label_accuracy(
    training_set: TrainingSet, predictions: "StepPredictions | None", samples: "Tensor"
) -> "dict[str, Tensor]":
    """Returns the share of a step's pseudo-labels that are correct, where the truth is known; nothing learns from it.

    Args:
        training_set: where the samples and, for some data, their true classes are.
        predictions: the predictions of the step.
        samples: (U,) positions of the step's unlabelled images.
    """
    import torch

    if training_set.truth is None or predictions is None or predictions.teacher_label is None:
        return {}
    truth = torch.from_numpy(training_set.truth).to(samples.device)[samples]
    correct = (predictions.teacher_label == truth).float()
    known = truth >= 0
    return {"pseudo_label_accuracy": (correct * known).sum() / known.sum().clamp_min(1)}


def student_predictions(learners: "Learners", weak: "Tensor") -> "StepPredictions":
    """Returns the record's rows for a step whose method makes no predictions: the student's, of the weak views."""
    import torch

    from gradebook.mpl.step import at_least_float32, evaluating, step_predictions

    with torch.no_grad(), evaluating(learners.student.net) as net:
        return step_predictions(student=at_least_float32(net(weak)))
