"""FlexMatch (Zhang et al., 2021, https://arxiv.org/abs/2110.08263, Algorithm 1): a threshold for each class.

Paper to code   q = softmax(S(x_uw)) (U, K), weak view    q̂ its likeliest class    τ threshold    N unlabelled samples
                u_n the last class of sample n that reached τ, or none

    σ_c  = Σ_n 1(u_n = c)              learning status of class c (section 3.1)
    β_c  = σ_c / max(max_c σ_c, N - Σ_c σ_c)        threshold warm-up (section 3.2)
    T_c  = τ β_c / (2 - β_c)                          the convex mapping (section 3.3)
    θ_S' = θ_S - η ∇ [ CE(y_l, S(x_l)) + λ_u (1/U) Σ 1(max q >= T_q̂) CE(q̂, S(x_us)) ]

The paper writes > and its code >=, which is used here. Thresholds are those before the step, as in the code. If a
sample is in a step twice with different classes, its u_n does not change.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from gradebook.mpl import losses, method_state
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
    """Settings of FlexMatch."""

    threshold: float = 0.95
    """τ, the threshold of the best-learned class."""
    pseudo_weight: float = 1.0
    """λ_u, the weight of the pseudo-labels' loss."""
    smoothing: float = 0.0
    """Label smoothing of the supervised loss."""


def step(learners: Learners, batch: Batch, runtime: Runtime, settings: Settings, index: StepIndex) -> StepReport:
    """Does one step; scalars student_loss, supervised_loss, pseudo_loss, confident, lowest_threshold.

    `memory` keeps u (N,) int64, -1 for none. The record has the weak view as the teacher's, the strong as the
    student's.
    """
    assert learners.samples > 0, "FlexMatch keeps a state for every sample, so it needs their number"
    net, memory = learners.student.net, learners.memory
    with torch.no_grad():
        weak = at_least_float32(net(batch.x_uw))
    probability, label = weak.softmax(-1).max(-1)

    last = memory.get("last_confident", torch.full((learners.samples,), -1, device=label.device))
    thresholds = class_thresholds(last, learners.unlabelled, weak.shape[-1], settings.threshold).to(weak.dtype)
    mask = (probability >= thresholds[label]).to(weak.dtype)
    confident = probability >= settings.threshold
    now = method_state.agreed_by_sample(label, confident, batch.id_u, learners.samples, runtime)
    memory["last_confident"] = torch.where(now >= 0, now, last)

    labelled, strong = forward_concat(net, batch.x_l, batch.x_us)
    supervised = losses.supervised(labelled, batch.y_l, smoothing=settings.smoothing)
    pseudo = losses.masked_cross_entropy(strong, label, mask)
    loss = supervised + settings.pseudo_weight * pseudo
    learners.student.descend(loss, runtime)
    scalars = {
        "student_loss": loss.detach(),
        "supervised_loss": supervised.detach(),
        "pseudo_loss": pseudo.detach(),
        "confident": mask.mean(),
        "lowest_threshold": thresholds.min(),
    }
    return StepReport(scalars=scalars, predictions=step_predictions(teacher=weak, student=strong))


def class_thresholds(last: Tensor, unlabelled: int, classes: int, threshold: float) -> Tensor:
    """Returns T (K,) float64.

    Args:
        last: (N,) int64 the last class of each sample that reached τ, -1 for none.
        unlabelled: number of unlabelled samples; the others are always -1.
        classes: K.
        threshold: τ.
    """
    known = (last >= 0).double()
    learned = torch.zeros(classes, dtype=torch.float64, device=last.device).index_add_(0, last.clamp_min(0), known)
    unused = unlabelled - learned.sum()
    share = learned / torch.maximum(learned.max(), unused).clamp_min(1)
    return threshold * share / (2 - share)
