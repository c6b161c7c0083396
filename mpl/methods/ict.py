"""Interpolation Consistency Training (Verma et al., 2019, https://arxiv.org/abs/1903.03825, Algorithm 1).

Paper to code   u_j, u_k unlabelled images and the same in another order    Mix(a, b) = λ a + (1-λ) b, λ ~ Beta(α, α)
                θ' the average of θ_S    w(t) rises as exp(-5 (1-t)²)

    θ_S' = θ_S - η ∇ [ CE(y_l, S(x_l)) + w(t) mean (softmax S(Mix(u_j, u_k); θ_S) - Mix(q_j, q_k))² ]
    q    = softmax S(u; θ')
    θ'   = α' θ' + (1-α') θ_S'

The teacher is the learner's running average (`Learner.average`), in evaluation mode, as in `mean_teacher`. Mixing is
the perturbation, so both teacher and student get the weak view. One λ is drawn per step, as in the paper; each process
mixes within its own slice of the batch. The record's student predictions are for the unmixed weak views, at θ_S before
the step.
"""

from dataclasses import dataclass

import torch

from gradebook.mpl import losses, mixup
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
    """Settings of Interpolation Consistency Training."""

    alpha: float = 1.0
    """α of the Beta distribution of λ; 1 is the uniform distribution."""
    consistency_weight: float = 100.0
    """w, the final weight of the consistency loss, as in the paper."""
    consistency_ramp: float = 0.25
    """Share of the run over which it rises."""
    smoothing: float = 0.0
    """Label smoothing of the supervised loss."""


def step(learners: Learners, batch: Batch, runtime: Runtime, settings: Settings, index: StepIndex) -> StepReport:
    """Does one step; scalars student_loss, supervised_loss, consistency_loss, agreement.

    Raises:
        ValueError: the student has no average.
    """
    student = learners.student
    u_j = mixup.floating(batch.x_uw)
    with torch.no_grad(), evaluating(averaged(student)) as teacher:
        teacher_logits = at_least_float32(teacher(u_j))
    with torch.no_grad(), evaluating(student.net) as net:
        student_logits = at_least_float32(net(u_j))

    order = mixup.shuffled(len(u_j), u_j)
    share = mixup.shares(1, settings.alpha, u_j)
    q = teacher_logits.softmax(-1)
    labelled, logits = forward_concat(student.net, batch.x_l, mixup.mixed(u_j, u_j[order], share))
    supervised = losses.supervised(labelled, batch.y_l, smoothing=settings.smoothing)
    consistency = losses.squared(logits, mixup.mixed(q, q[order], share)).mean()
    weight = settings.consistency_weight * slow_ramp(index, settings.consistency_ramp)
    loss = supervised + weight * consistency
    student.descend(loss, runtime)
    scalars = {
        "student_loss": loss.detach(),
        "supervised_loss": supervised.detach(),
        "consistency_loss": consistency.detach(),
        "agreement": torch.eq(teacher_logits.argmax(-1), student_logits.argmax(-1)).float().mean(),
    }
    return StepReport(scalars=scalars, predictions=step_predictions(teacher=teacher_logits, student=student_logits))
