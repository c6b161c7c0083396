"""Pseudo Labels with a fixed teacher (Lee, 2013; the baseline of Pham et al., 2021, Figure 1 left).

A teacher is trained on the labels alone and then fixed; a student is trained on its pseudo-labels:

    first  `teacher_share` of the run    θ_T' = θ_T - η_T ∇ CE(y_l, T(x_l))
    then                                 θ_S' = θ_S - η ∇ [ CE(y_l, S(x_l)) + w CE(ŷ, S(x_us)) · 1(max q >= threshold) ]

with q = softmax(T(x_uw)) and ŷ its likeliest class. The student is trained on the labels too, as in Lee (2013).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as nnf

from gradebook.mpl import losses
from gradebook.mpl.step import (
    Batch,
    Learners,
    Runtime,
    StepIndex,
    StepReport,
    at_least_float32,
    evaluating,
    forward_concat,
    step_predictions,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of Pseudo Labels."""

    teacher_share: float = 0.4
    """Share of the run that trains the teacher; the student has the rest."""
    pseudo_weight: float = 1.0
    """w, the weight of the pseudo-labels' loss."""
    threshold: float = 0.8
    """The teacher's probability from which a pseudo-label counts."""
    smoothing: float = 0.0
    """Label smoothing of the supervised losses."""


def step(learners: Learners, batch: Batch, runtime: Runtime, settings: Settings, index: StepIndex) -> StepReport:
    """Does one step; scalars teacher_loss at first, then student_loss, supervised_loss, pseudo_loss, confident."""
    student, teacher = learners.student, learners.teacher
    assert teacher is not None, "Pseudo Labels need a teacher"
    if index.step < settings.teacher_share * index.total:
        loss = losses.supervised(at_least_float32(teacher.net(batch.x_l)), batch.y_l, smoothing=settings.smoothing)
        teacher.descend(loss, runtime)
        return StepReport(scalars={"teacher_loss": loss.detach()})
    with torch.no_grad(), evaluating(teacher.best_net()) as fixed:
        teacher_logits = at_least_float32(fixed(batch.x_uw))
    mask = losses.confident(teacher_logits, settings.threshold)
    labelled, logits = forward_concat(student.net, batch.x_l, batch.x_us)
    pseudo = (nnf.cross_entropy(logits, teacher_logits.argmax(-1), reduction="none") * mask).mean()
    supervised = losses.supervised(labelled, batch.y_l, smoothing=settings.smoothing)
    loss = supervised + settings.pseudo_weight * pseudo
    student.descend(loss, runtime)
    scalars = {
        "student_loss": loss.detach(),
        "supervised_loss": supervised.detach(),
        "pseudo_loss": pseudo.detach(),
        "confident": mask.mean(),
    }
    return StepReport(scalars=scalars, predictions=step_predictions(teacher=teacher_logits, student=logits))
