"""Mean Teacher (Tarvainen and Valpola, 2017, https://arxiv.org/abs/1703.01780, section 2).

Paper to code   θ' the average of θ_S    w(t) rises as exp(-5 (1-t)²)

    θ_S' = θ_S - η ∇ [ CE(y_l, S(x_l)) + w(t) mean (softmax S(x_us; θ_S) - softmax S(x_uw; θ'))² ]
    θ'   = α θ' + (1-α) θ_S'

The teacher is the learner's running average (`Learner.average`, decay --average): updated in each step, saved in each
checkpoint, and used for the final predictions, as in the paper. The paper's noises η, η' are the two views: the student
gets the strong one, the teacher the weak one in evaluation mode, that is without dropout and with averaged BatchNorm
statistics; the released code has noise in both. The consistency loss is a mean over unlabelled images and classes; the
paper's includes labelled images.
"""

from dataclasses import dataclass

import torch

from gradebook.mpl import losses
from gradebook.mpl.schedules import slow_ramp
from gradebook.mpl.step import (
    Batch,
    Learners,
    Runtime,
    StepIndex,
    StepReport,
    at_least_float32,
    averaged,
    evaluating,
    forward_concat,
    step_predictions,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of Mean Teacher."""

    consistency_weight: float = 8.0
    """w, the final weight of the consistency loss, as in Oliver et al. (2018, arXiv 1804.09170)."""
    consistency_ramp: float = 0.4
    """Share of the run over which it rises."""
    smoothing: float = 0.0
    """Label smoothing of the supervised loss."""


def step(learners: Learners, batch: Batch, runtime: Runtime, settings: Settings, index: StepIndex) -> StepReport:
    """Does one step; scalars student_loss, supervised_loss, consistency_loss, agreement.

    Raises:
        ValueError: the student has no average.
    """
    student = learners.student
    with torch.no_grad(), evaluating(averaged(student)) as teacher:
        teacher_logits = at_least_float32(teacher(batch.x_uw))
    labelled, strong = forward_concat(student.net, batch.x_l, batch.x_us)
    supervised = losses.supervised(labelled, batch.y_l, smoothing=settings.smoothing)
    consistency = losses.squared(strong, teacher_logits.softmax(-1)).mean()
    weight = settings.consistency_weight * slow_ramp(index, settings.consistency_ramp)
    loss = supervised + weight * consistency
    student.descend(loss, runtime)
    scalars = {
        "student_loss": loss.detach(),
        "supervised_loss": supervised.detach(),
        "consistency_loss": consistency.detach(),
        "agreement": torch.eq(teacher_logits.argmax(-1), strong.argmax(-1)).float().mean(),
    }
    return StepReport(scalars=scalars, predictions=step_predictions(teacher=teacher_logits, student=strong))
