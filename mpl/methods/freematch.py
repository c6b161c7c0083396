"""FreeMatch (Wang et al., 2023, https://arxiv.org/abs/2205.07246, Algorithm 1): self-adaptive thresholds.

Paper to code   q = softmax(S(x_uw)) (U, K), weak view    q̂ its likeliest class    Q = softmax(S(x_us)) (U, K), strong
                λ decay    each mean over the batch of all processes

    τ'   = λ τ + (1-λ) mean max q            confidence, from 1/K
    p̃'   = λ p̃ + (1-λ) mean q                probability of each class, from 1/K
    h̃'   = λ h̃ + (1-λ) shares of q̂           frequency of each class, from 1/K
    τ_c  = τ' p̃'_c / max p̃'                  self-adaptive thresholds (section 3.1)
    mask = 1(max q >= τ_q̂)
    L_f  = -H(norm(p̃'/h̃'), norm(p̄/h̄))       fairness (section 3.2)
    θ_S' = θ_S - η ∇ [ CE(y_l, S(x_l)) + w_u (1/U) Σ mask CE(q̂, S(x_us)) + w_f L_f ]

with p̄ the mean of Q and h̄ the shares of its likeliest classes over masked images, and H(a, b) = -Σ a log b. Classes
that h̄ lacks are left out of L_f, which changes it by a constant: the released code counts log 10⁻¹² for each.
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
    mean_over_processes,
    step_predictions,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of FreeMatch."""

    decay: float = 0.99
    """λ, of the running means. The paper's is 0.999, for runs of a million steps."""
    pseudo_weight: float = 1.0
    """w_u, the weight of the pseudo-labels' loss."""
    fairness_weight: float = 0.01
    """w_f, the weight of the fairness loss."""
    smoothing: float = 0.0
    """Label smoothing of the supervised loss."""


def step(learners: Learners, batch: Batch, runtime: Runtime, settings: Settings, index: StepIndex) -> StepReport:
    """Does one step; scalars student_loss, supervised_loss, pseudo_loss, fairness_loss, confident, threshold (τ).

    `memory` keeps τ (), p̃ (K,) and h̃ (K,). The record has the weak view as the teacher's, the strong as the student's.
    """
    net, memory, decay = learners.student.net, learners.memory, settings.decay
    with torch.no_grad():
        weak = at_least_float32(net(batch.x_uw))
    q = weak.softmax(-1)
    probability, label = q.max(-1)

    start = method_state.uniform(weak)
    sure = runtime.reduce(probability.mean(), "mean")
    confidence = method_state.running_mean(memory, "confidence", sure, decay, start[0])
    p = method_state.running_mean(memory, "class_probability", method_state.mean_row(q, runtime), decay, start)
    h = method_state.running_mean(memory, "class_share", method_state.class_shares(label, weak, runtime), decay, start)
    mask = (probability >= (confidence * p / p.max())[label]).to(weak.dtype)

    labelled, strong = forward_concat(net, batch.x_l, batch.x_us)
    supervised = losses.supervised(labelled, batch.y_l, smoothing=settings.smoothing)
    pseudo = losses.masked_cross_entropy(strong, label, mask)
    fair = fairness(strong, mask, losses.rescaled(p / h), runtime)
    loss = supervised + settings.pseudo_weight * pseudo + settings.fairness_weight * fair
    learners.student.descend(loss, runtime)
    scalars = {
        "student_loss": loss.detach(),
        "supervised_loss": supervised.detach(),
        "pseudo_loss": pseudo.detach(),
        "fairness_loss": fair.detach(),
        "confident": mask.mean(),
        "threshold": confidence,
    }
    return StepReport(scalars=scalars, predictions=step_predictions(teacher=weak, student=strong))


def fairness(strong: Tensor, mask: Tensor, target: Tensor, runtime: Runtime) -> Tensor:
    """Returns L_f = Σ_c target_c log norm(p̄/h̄)_c (), in nats, over the masked images of all processes.

    Args:
        strong: (U, K) logits of the strong views, with their graph.
        mask: (U,) 1 for the images that count.
        target: (K,) norm(p̃'/h̃'), a constant.
        runtime: see `Runtime`.
    """
    q = strong.softmax(-1)
    mean = mean_over_processes((q * mask[:, None]).mean(0), runtime)
    shares = method_state.mean_row(losses.one_hot(q.argmax(-1), q) * mask[:, None], runtime)
    there = shares > 0
    ours = losses.rescaled(torch.where(there, mean / torch.where(there, shares, 1.0), 0.0))
    return torch.where(there, target * losses.as_logits(ours), 0.0).sum()
