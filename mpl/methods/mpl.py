"""Meta Pseudo Labels (Pham et al., 2021, https://arxiv.org/abs/2003.10580), with the feedback of
`gradebook.mpl.feedback`.

Paper to code   T teacher    S student    x_uw, x_us weak and strong view    q = softmax(T(x_u)) (U, K)    η rate

    student   θ_S' = θ_S - η ∇ CE(q, S(x_us; θ_S))                  x_u the weak view, or the strong one
    feedback  F    = the change in labelled loss, for every image and class
    teacher   θ_T' = θ_T - η_T ∇ [ CE(y_l, T(x_l)) + w_uda UDA(T) + λ L_fb(T; F) ]

The student is trained on the strong view and never on a label. The teacher labels the weak view, and the gradient of
the feedback loss flows through the same view, since the student was trained on those pseudo-labels. The paper's code
uses the strong view for both (`view="strong"`), which saves one and a half passes; on cached features the weak view was
3.6 points better (docs/log.md).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from gradebook.mpl import losses
from gradebook.mpl.activation_recompute import recompute_activations
from gradebook.mpl.schedules import ramp
from gradebook.mpl.step import (
    Batch,
    Learners,
    Runtime,
    StepIndex,
    StepReport,
    at_least_float32,
    forward_concat,
    gradient_norm,
    step_predictions,
)
from gradebook.mpl.step_timer import phase
from gradebook.mpl.student_step import FeedbackKind, student_step, teacher_feedback_loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of Meta Pseudo Labels."""

    view: Literal["weak", "strong"] = "weak"
    """View that the teacher labels for the student, and through which the feedback loss is differentiated."""
    feedback: FeedbackKind = "exact"
    """Feedback: exact for each image and class, the same by differences, the paper's one number, or none."""
    feedback_weight: float = 1.0
    """λ, the weight of the feedback loss in the teacher's loss."""
    normalise: bool = True
    """Divide the feedback by its root mean square over the batch (exact and difference)."""
    baseline: float = 0.9
    """Decay of the moving mean that is subtracted from the feedback (reinforce); 0 subtracts nothing."""
    uda_weight: float = 1.0
    """w_uda, the weight of the teacher's consistency loss."""
    uda_ramp: float = 0.0
    """Share of the run over which that weight rises from 0."""
    temperature: float = 0.5
    """Of the sharpened weak view in the consistency loss."""
    threshold: float = 0.8
    """Probability from which a weak view is the target of the strong one."""
    smoothing: float = 0.0
    """Label smoothing of the teacher's supervised loss."""


def step(learners: Learners, batch: Batch, runtime: Runtime, settings: Settings, index: StepIndex) -> StepReport:
    """Does one step of Algorithm 1: an update of the student, its feedback, and an update of the teacher.

    Args:
        learners: student and teacher; `memory` holds the baseline of `reinforce`.
        batch: see `Batch`.
        runtime: see `Runtime`.
        settings: see `Settings`.
        index: see `StepIndex`.

    Returns:
        Scalars student_loss, teacher_loss, supervised_loss, uda_loss, confident, feedback_loss, feedback_rms (nats,
        before normalising), feedback_share (of the gradient with respect to the teacher's logits), agreement; the
        predictions for the unlabelled batch, with F in nats.
    """
    student, teacher = learners.student, learners.teacher
    assert teacher is not None, "Meta Pseudo Labels needs a teacher"

    # q = softmax(T(x_u)); its graph is in memory beside the student's if there will be feedback
    with phase("teacher labels"):
        labelled, logits, weak = _pseudo_label_logits(teacher.net, batch, settings)
    teacher_logits = logits.detach()

    update = student_step(student, teacher_logits, batch, runtime, settings.feedback)

    # θ_T' = θ_T - η_T ∇ [ CE(y_l, T(x_l)) + w_uda UDA(T) + λ L_fb(T; F) ], a graph at a time
    with phase("teacher"):
        feedback_loss = torch.zeros_like(update.loss)
        if update.has_feedback:
            feedback_loss = teacher_feedback_loss(
                logits,
                update,
                learners.memory,
                runtime,
                normalise=settings.normalise,
                baseline=settings.baseline,
            )
        feedback_norm = gradient_norm(settings.feedback_weight * feedback_loss, [logits])
        if labelled is None:
            if update.has_feedback:
                teacher.accumulate_gradient(settings.feedback_weight * feedback_loss, runtime)
                feedback_loss = feedback_loss.detach()
            del logits
            with phase("forward"):
                labelled, logits = forward_concat(teacher.net, batch.x_l, batch.x_us)
        supervised = losses.supervised(labelled, batch.y_l, smoothing=settings.smoothing)
        uda, confident = losses.uda(logits, weak, temperature=settings.temperature, threshold=settings.threshold)
        weight = settings.uda_weight * ramp(index, settings.uda_ramp)
        other_norm = gradient_norm(supervised + weight * uda, [labelled, logits])
        loss = supervised + weight * uda + settings.feedback_weight * feedback_loss
        teacher.descend(loss, runtime)

    predictions = step_predictions(teacher=teacher_logits, student=update.logits, feedback=update.feedback)
    scalars = {
        **update.scalars(),
        "teacher_loss": loss.detach(),
        "supervised_loss": supervised.detach(),
        "uda_loss": uda.detach(),
        "confident": confident,
        "feedback_loss": feedback_loss.detach(),
        "feedback_share": feedback_norm / (feedback_norm + other_norm).clamp_min(1e-12),
        "agreement": torch.eq(teacher_logits.argmax(-1), update.logits.argmax(-1)).float().mean(),
    }
    return StepReport(scalars=scalars, predictions=predictions)


def _pseudo_label_logits(net: nn.Module, batch: Batch, settings: Settings) -> tuple[Tensor | None, Tensor, Tensor]:
    """Computes the teacher's logits for the student's pseudo-labels.

    Returns:
        The logits of the labelled images (B, K), if one pass gave them and the strong view's; those of the
        pseudo-labels (U, K), with their graph if there will be feedback; those of the weak view (U, K), detached.
    """
    if settings.view == "weak":
        with torch.set_grad_enabled(settings.feedback != "none"), recompute_activations(net):
            logits = at_least_float32(net(batch.x_uw))
        # a view, because a gradient with respect to a sharded network's own output would gather its parameters
        return None, logits.view_as(logits), logits.detach()
    with recompute_activations(net, recompute_first_blocks=True):
        labelled, logits = forward_concat(net, batch.x_l, batch.x_us)
    with torch.no_grad():
        return labelled, logits, at_least_float32(net(batch.x_uw))
