"""UDA: unsupervised data augmentation (Xie et al., 2020, https://arxiv.org/abs/1904.12848).

    θ_S' = θ_S - η ∇ [ CE(y_l, S(x_l)) + w_uda UDA(S) ]

where the target of each strong view in UDA(S) is the sharpened distribution of its weak view, if that is confident.
The paper's training signal annealing is left out, as in the teacher of Meta Pseudo Labels.
"""

from dataclasses import dataclass

import torch

from gradebook.mpl import losses
from gradebook.mpl.schedules import ramp
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
    """Settings of UDA."""

    uda_weight: float = 1.0
    """w_uda, the weight of the consistency loss."""
    uda_ramp: float = 0.0
    """Share of the run over which that weight rises from 0."""
    temperature: float = 0.5
    """Of the sharpened weak view."""
    threshold: float = 0.8
    """Probability from which a weak view is the target of the strong one."""
    smoothing: float = 0.0
    """Label smoothing of the supervised loss."""


def step(learners: Learners, batch: Batch, runtime: Runtime, settings: Settings, index: StepIndex) -> StepReport:
    """Does one step; scalars student_loss, supervised_loss, uda_loss, confident.

    The record has the weak view's distribution as the teacher's, and the strong view's as the student's.
    """
    net = learners.student.net
    with torch.no_grad():
        weak = at_least_float32(net(batch.x_uw))
    labelled, strong = forward_concat(net, batch.x_l, batch.x_us)
    supervised = losses.supervised(labelled, batch.y_l, smoothing=settings.smoothing)
    uda, confident = losses.uda(strong, weak, temperature=settings.temperature, threshold=settings.threshold)
    loss = supervised + settings.uda_weight * ramp(index, settings.uda_ramp) * uda
    learners.student.descend(loss, runtime)
    scalars = {
        "student_loss": loss.detach(),
        "supervised_loss": supervised.detach(),
        "uda_loss": uda.detach(),
        "confident": confident,
    }
    return StepReport(scalars=scalars, predictions=step_predictions(teacher=weak, student=strong))
