"""Temporal Ensembling (Laine and Aila, 2017, https://arxiv.org/abs/1610.02242, Algorithm 2).

Paper to code   z = softmax(S(x_us)) (U, K)    Z (N, K) accumulated, from zeros    t_i number of updates of i
                w(t) rises as exp(-5 (1-t)²)

    z̃_i  = Z_i / (1 - α^t_i)                                     the bias-corrected ensemble
    θ_S' = θ_S - η ∇ [ CE(y_l, S(x_l)) + w(t) (1/UK) Σ_i ‖z_i - z̃_i‖² ]
    Z_i' = α Z_i + (1-α) z_i,   t_i' = t_i + 1

The paper updates Z at the end of each epoch, and its first target is zero with a weight of zero. Here an image's row is
updated in each step that has the image, and an image that is seen for the first time counts as zero in the mean over
all U. An image that is in a step more than once updates its row once, by the mean. The perturbation is augmentation, so
z is of the strong view. Labelled images are not part of the consistency loss. Z takes N rows of K numbers, in memory
and in the communication between processes of each step.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from gradebook.mpl import losses, method_state
from gradebook.mpl.schedules import slow_ramp
from gradebook.mpl.step import Batch, Learners, Runtime, StepIndex, StepReport, forward_concat, step_predictions


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of Temporal Ensembling."""

    decay: float = 0.6
    """α, of the accumulated outputs."""
    consistency_weight: float = 30.0
    """w, the final weight of the consistency loss: the paper's."""
    consistency_ramp: float = 0.27
    """Share of the run over which it rises: the paper's 80 of 300 epochs."""
    smoothing: float = 0.0
    """Label smoothing of the supervised loss."""


def step(learners: Learners, batch: Batch, runtime: Runtime, settings: Settings, index: StepIndex) -> StepReport:
    """Does one step; scalars student_loss, supervised_loss, consistency_loss, known (share of images seen before).

    `memory` keeps Z (N, K) and t (N,). The record's teacher is z̃; of an image seen for the first time, z.
    """
    assert learners.samples > 0, "Temporal Ensembling keeps a state for every sample, so it needs their number"
    labelled, strong = forward_concat(learners.student.net, batch.x_l, batch.x_us)
    z = strong.detach().softmax(-1)
    target, known = _ensemble(learners, batch.id_u, z, settings.decay)
    supervised = losses.supervised(labelled, batch.y_l, smoothing=settings.smoothing)
    consistency = (losses.squared(strong, target) * known).mean()
    weight = settings.consistency_weight * slow_ramp(index, settings.consistency_ramp)
    loss = supervised + weight * consistency
    learners.student.descend(loss, runtime)
    _accumulate(learners, batch.id_u, z, settings.decay, runtime)
    scalars = {
        "student_loss": loss.detach(),
        "supervised_loss": supervised.detach(),
        "consistency_loss": consistency.detach(),
        "known": known.float().mean(),
    }
    return StepReport(scalars=scalars, predictions=step_predictions(teacher=losses.as_logits(target), student=strong))


def _ensemble(learners: Learners, positions: Tensor, z: Tensor, decay: float) -> tuple[Tensor, Tensor]:
    """Returns z̃ (U, K), z where there is none yet, and whether there is one (U,) bool."""
    total, times = _memory(learners, z)
    total, times = total[positions], times[positions, None]
    known = times > 0
    ensemble = total / (1 - decay ** times.to(z.dtype)).clamp_min(torch.finfo(z.dtype).tiny)
    return torch.where(known, ensemble, z), known[:, 0]


def _accumulate(learners: Learners, positions: Tensor, z: Tensor, decay: float, runtime: Runtime) -> None:
    total, times = _memory(learners, z)
    now, seen = method_state.mean_by_sample(z, positions, learners.samples, runtime)
    learners.memory["outputs"] = torch.where(seen[:, None], decay * total + (1 - decay) * now, total)
    learners.memory["times"] = times + seen


def _memory(learners: Learners, z: Tensor) -> tuple[Tensor, Tensor]:
    """Returns Z (N, K) and t (N,) int64."""
    total = learners.memory.get("outputs", z.new_zeros(learners.samples, z.shape[-1]))
    return total, learners.memory.get("times", torch.zeros(learners.samples, dtype=torch.int64, device=z.device))
