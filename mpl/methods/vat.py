"""Virtual Adversarial Training with entropy minimisation (Miyato et al., 2018, https://arxiv.org/abs/1704.03976).

Paper to code   p = softmax(S(x)) (U, K)    d direction, of unit length for each image    ε radius    ξ probe

    r    = ε d,  d ← norm(∇_r KL(p(x) ‖ p(x + r)) at r = ξ d),  from a random d    K power iterations
    θ_S' = θ_S - η ∇ [ CE(y_l, S(x_l)) + w_vat (1/U) Σ KL(sg(p(x)) ‖ p(x + r)) + w_ent (1/U) Σ H(p(x)) ]

The adversarial direction is the perturbation, so both passes get the weak view. The paper's ε has the unit of its
inputs; here ε and ξ are relative to the root mean square length of the batch's inputs over all processes, so that they
suit images from 0 to 255 and features of any scale. p(x) and r are computed without dropout, whose noise would hide the
derivative; BatchNorm normalises with the batch, and its running statistics are not updated. The paper's ξ of 10⁻⁶ is
lost to rounding in float32. KL is quadratic near zero, so 10⁻² of the length gives the same direction.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from gradebook.mpl import feedback as fb
from gradebook.mpl import losses, mixup
from gradebook.mpl.step import (
    Batch,
    Learner,
    Learners,
    Runtime,
    StepIndex,
    StepReport,
    forward_concat,
    step_predictions,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of Virtual Adversarial Training."""

    radius: float = 0.1
    """ε, length of the perturbation relative to the inputs' length."""
    probe: float = 0.01
    """ξ, length at which the derivative is taken, relative to the inputs' length."""
    iterations: int = 1
    """K, power iterations for the adversarial direction."""
    vat_weight: float = 1.0
    """w_vat, the weight of the smoothness loss."""
    entropy_weight: float = 0.06
    """w_ent, the weight of the entropy, as in Oliver et al. (2018, arXiv 1804.09170). The paper has 1, which makes a
    head on features overconfident. 0 is plain VAT."""
    smoothing: float = 0.0
    """Label smoothing of the supervised loss."""


def step(learners: Learners, batch: Batch, runtime: Runtime, settings: Settings, index: StepIndex) -> StepReport:
    """Does one step; scalars student_loss, supervised_loss, vat_loss, entropy.

    The record has the prediction for the weak view as the teacher's, and for the perturbed one as the student's.
    """
    student = learners.student
    x = mixup.floating(batch.x_uw)
    with torch.no_grad(), fb.dropout_off(student.net), _full_precision(x):
        logits = fb.functional_forward(student.net, student.weights(), x)
    length = usual_length(x, runtime)
    r = worst_direction(student, x, logits, probe=settings.probe * length, iterations=settings.iterations)

    labelled, plain, perturbed = forward_concat(student.net, batch.x_l, x, x + settings.radius * length * r)
    supervised = losses.supervised(labelled, batch.y_l, smoothing=settings.smoothing)
    vat = losses.divergence(perturbed, logits).mean()
    entropy = losses.entropy(plain).mean()
    loss = supervised + settings.vat_weight * vat + settings.entropy_weight * entropy
    student.descend(loss, runtime)
    scalars = {
        "student_loss": loss.detach(),
        "supervised_loss": supervised.detach(),
        "vat_loss": vat.detach(),
        "entropy": entropy.detach(),
    }
    return StepReport(scalars=scalars, predictions=step_predictions(teacher=logits, student=perturbed))


def worst_direction(student: Learner, x: Tensor, logits: Tensor, *, probe: Tensor, iterations: int) -> Tensor:
    """Computes the direction in which a small step changes each image's distribution most, by power iterations.

    Args:
        student: the network.
        x: (U, ...) inputs.
        logits: (U, K) at x.
        probe: () length at which the derivative is taken, in the unit of `x`.
        iterations: each costs a forward and a backward pass.

    Returns:
        (U, ...) of unit length an image.
    """
    d = _unit(torch.randn_like(x))
    for _ in range(iterations):
        with torch.enable_grad(), fb.dropout_off(student.net), _full_precision(x):
            r = (probe * d).requires_grad_()
            near = fb.forward_with_buffers_restored(student.net, x + r)
            (gradient,) = torch.autograd.grad(losses.divergence(near, logits).sum(), r)
        d = _unit(gradient)
    return d


def usual_length(x: Tensor, runtime: Runtime) -> Tensor:
    """Returns the root mean square length () of inputs (U, ...) over the batch of all processes, in their unit."""
    return runtime.reduce(x.flatten(1).square().sum(-1).mean(), "mean").sqrt()


def _full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Turns autocast off: a probe of 1 % is lost in bfloat16's eight bits."""
    device = x.device.type
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


def _unit(d: Tensor) -> Tensor:
    """Returns each image's d (U, ...) with length 1; zeros stay zeros."""
    lengths: Tensor = torch.linalg.vector_norm(d.flatten(1), dim=-1).view(-1, *[1] * (d.dim() - 1))
    unit: Tensor = d / lengths.clamp_min(torch.finfo(d.dtype).tiny)
    return unit
