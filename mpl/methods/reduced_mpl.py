"""Reduced Meta Pseudo Labels (Pham et al., 2021, https://arxiv.org/abs/2003.10580, appendix E).

A large teacher T is trained, and predicts each image once; a small teacher T' calibrates its distributions, and is
trained by the feedback:

    first `teacher_share` of the run    θ_T' = θ_T - η_T ∇ CE(y_l, T(x_l))
    then, once per image                p    = softmax T(x_uw), stored
    then     labels                     q    = softmax T'(log p),   T'(z) = z + MLP(z)
             student                    θ_S' = θ_S - η ∇ CE(q, S(x_us; θ_S))
             feedback                   φ'   = φ - η_φ ∇ λ L_fb(T'; F)          φ the weights of T'

The paper leaves details open. Chosen here:
- "Takes as input the distribution": T' takes log p minus its mean, so that the identity is a linear map.
- "Close to an identity map": T' starts as the identity, since its last layer starts at zero.
- T' is trained by the feedback alone: T has memorised the labelled images, so its distributions on them say nothing
  about its calibration. With feedback "none" this is distillation from a fixed teacher.
- "Pre-computes all distributions": a step sees a batch, so each distribution is computed when its image is first used,
  in the weak view and evaluation mode. Unlabelled images are shuffled in each epoch, so after two epochs all are known
  and T is not used any more. A host that already has them puts them into `memory["distributions"]`, (N, K), and
  provides no teacher; then only one network is in memory, as in the paper.

φ is in `memory` ("calibrator.") and is trained by plain gradient descent. Distributions take N rows of K numbers.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from gradebook.mpl import losses, method_state
from gradebook.mpl.step import (
    Batch,
    Learner,
    Learners,
    Runtime,
    StepIndex,
    StepReport,
    at_least_float32,
    average_over_processes,
    evaluating,
    step_predictions,
)
from gradebook.mpl.student_step import FeedbackKind, student_step, teacher_feedback_loss

HIDDEN = 32  # units of T'


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of Reduced Meta Pseudo Labels."""

    feedback: FeedbackKind = "exact"
    """Feedback: exact for each image and class, the same by differences, the paper's one number, or none."""
    feedback_weight: float = 1.0
    """λ, the weight of the feedback loss."""
    normalise: bool = True
    """Divide the feedback by its root mean square over the batch (exact and difference)."""
    baseline: float = 0.9
    """Decay of the moving mean that is subtracted from the feedback (reinforce); 0 subtracts nothing."""
    teacher_share: float = 0.4
    """Share of the run that trains the large teacher; the student has the rest."""
    calibrator_rate: float = 1.0
    """η_φ as a multiple of the student's learning rate."""
    smoothing: float = 0.0
    """Label smoothing of the large teacher's loss."""


def step(learners: Learners, batch: Batch, runtime: Runtime, settings: Settings, index: StepIndex) -> StepReport:
    """Does one step of either phase.

    Returns:
        Scalar teacher_loss in the first phase, then student_loss, feedback_loss, feedback_rms or improvement (nats,
        before normalising), agreement; the record's teacher is q, with F of its labels in nats.
    """
    begin = 0 if learners.teacher is None else settings.teacher_share * index.total
    if learners.teacher is not None and index.step < begin:
        labelled = at_least_float32(learners.teacher.net(batch.x_l))
        loss = losses.supervised(labelled, batch.y_l, smoothing=settings.smoothing)
        learners.teacher.descend(loss, runtime)
        return StepReport(scalars={"teacher_loss": loss.detach()})

    if learners.teacher is not None and (index.step - begin) * len(batch.id_u) < 2 * learners.unlabelled:
        _store_distributions(learners.teacher, learners, batch, runtime)
    p = learners.memory["distributions"][batch.id_u]
    phi = _calibrator(learners.memory, p, runtime)
    mapped = calibrated(p, phi)
    teacher_logits = mapped.detach()

    update = student_step(learners.student, teacher_logits, batch, runtime, settings.feedback)
    feedback_loss = torch.zeros_like(update.loss)
    if update.has_feedback:
        feedback_loss = teacher_feedback_loss(
            mapped, update, learners.memory, runtime, normalise=settings.normalise, baseline=settings.baseline
        )
        rate = settings.calibrator_rate * learners.student.rate
        _descend(phi, settings.feedback_weight * feedback_loss, rate, learners.memory, runtime)
    scalars = {
        **update.scalars(),
        "feedback_loss": feedback_loss.detach(),
        "agreement": torch.eq(teacher_logits.argmax(-1), update.logits.argmax(-1)).float().mean(),
    }
    predictions = step_predictions(teacher=teacher_logits, student=update.logits, feedback=update.feedback)
    return StepReport(scalars=scalars, predictions=predictions)


def calibrated(p: Tensor, phi: dict[str, Tensor]) -> Tensor:
    """Returns T'(log p): the calibrated logits (U, K) of distributions p (U, K)."""
    z = losses.as_logits(p.clamp_min(1e-6))
    z = z - z.mean(-1, keepdim=True)
    hidden = torch.tanh(z @ phi["weight_1"].t() + phi["bias_1"])
    return z + hidden @ phi["weight_2"].t() + phi["bias_2"]


def _store_distributions(teacher: Learner, learners: Learners, batch: Batch, runtime: Runtime) -> None:
    """Stores T's distributions of images that are seen for the first time; none is ever replaced."""
    assert learners.samples > 0, "distributions are stored for every sample, so their number is needed"
    with torch.no_grad(), evaluating(teacher.best_net()) as fixed:
        p = at_least_float32(fixed(batch.x_uw)).softmax(-1)
    stored = learners.memory.get("distributions", p.new_zeros(learners.samples, p.shape[-1]))
    now, seen = method_state.mean_by_sample(p, batch.id_u, learners.samples, runtime)
    new = seen & (stored.sum(-1) == 0)
    learners.memory["distributions"] = torch.where(new[:, None], now, stored)


def _calibrator(memory: dict[str, Tensor], p: Tensor, runtime: Runtime) -> dict[str, Tensor]:
    """Returns φ as leaves that require a gradient. It is initialised at first use, the same on every process."""
    k = p.shape[-1]
    if "calibrator.weight_1" not in memory:
        initial = torch.randn(HIDDEN, k, dtype=p.dtype, device=p.device) / k**0.5
        memory["calibrator.weight_1"] = runtime.reduce(initial, "mean")
        memory["calibrator.bias_1"] = p.new_zeros(HIDDEN)
        memory["calibrator.weight_2"] = p.new_zeros(k, HIDDEN)
        memory["calibrator.bias_2"] = p.new_zeros(k)
    names = ("weight_1", "bias_1", "weight_2", "bias_2")
    return {name: memory[f"calibrator.{name}"].detach().clone().requires_grad_() for name in names}


def _descend(phi: dict[str, Tensor], loss: Tensor, rate: float, memory: dict[str, Tensor], runtime: Runtime) -> None:
    """φ' = φ - η_φ ∇ loss, with the gradient averaged over the processes."""
    gradients = list(torch.autograd.grad(loss, list(phi.values())))
    average_over_processes(gradients, runtime)
    for (name, weight), gradient in zip(phi.items(), gradients, strict=True):
        memory[f"calibrator.{name}"] = weight.detach() - rate * gradient
