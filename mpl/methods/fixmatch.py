"""FixMatch (Sohn et al., 2020, https://arxiv.org/abs/2001.07685, Algorithm 1).

Paper to code   q = softmax(S(x_uw)) (U, K), weak view    q̂ its likeliest class    τ threshold    λ_u pseudo_weight

    θ_S' = θ_S - η ∇ [ CE(y_l, S(x_l)) + λ_u (1/U) Σ 1(max q >= τ) CE(q̂, S(x_us)) ]
"""

from dataclasses import dataclass

import torch

from gradebook.mpl import losses
from gradebook.mpl.step import (
    Batch,
    Learners,
    Runtime,
    StepIndex,
    StepReport,
    at_least_float32,
    forward_concat,
    step_predictions,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of FixMatch."""

    threshold: float = 0.95
    """τ, probability from which a weak view's class is the strong view's pseudo-label."""
    pseudo_weight: float = 1.0
    """λ_u, the weight of the pseudo-labels' loss."""
    smoothing: float = 0.0
    """Label smoothing of the supervised loss."""


def step(learners: Learners, batch: Batch, runtime: Runtime, settings: Settings, index: StepIndex) -> StepReport:
    """Does one step; scalars student_loss, supervised_loss, pseudo_loss, confident.

    The record has the weak view's distribution as the teacher's, and the strong view's as the student's.
    """
    net = learners.student.net
    with torch.no_grad():
        weak = at_least_float32(net(batch.x_uw))
    mask = losses.confident(weak, settings.threshold)
    labelled, strong = forward_concat(net, batch.x_l, batch.x_us)
    supervised = losses.supervised(labelled, batch.y_l, smoothing=settings.smoothing)
    pseudo = losses.masked_cross_entropy(strong, weak.argmax(-1), mask)
    loss = supervised + settings.pseudo_weight * pseudo
    learners.student.descend(loss, runtime)
    scalars = {
        "student_loss": loss.detach(),
        "supervised_loss": supervised.detach(),
        "pseudo_loss": pseudo.detach(),
        "confident": mask.mean(),
    }
    return StepReport(scalars=scalars, predictions=step_predictions(teacher=weak, student=strong))
