"""SoftMatch (Chen et al., 2023, https://arxiv.org/abs/2301.10921, Algorithm 1): a weight in place of a threshold.

Paper to code   q = softmax(S(x_uw)) (U, K), weak view    q̂ its likeliest class    m decay
                each mean over the batch of all processes

    p̄'   = m p̄ + (1-m) mean q                      probability of each class, from the first batch's mean
    q̃    = norm(q / p̄')                            uniform alignment (section 3.3)
    μ'   = m μ + (1-m) mean max q̃                  from 1/K
    σ²'  = m σ² + (1-m) variance of max q̃          from 1, unbiased
    w    = exp(-min(0, max q̃ - μ')² / (2 σ²'/s²))  a Gaussian below μ', 1 above
    θ_S' = θ_S - η ∇ [ CE(y_l, S(x_l)) + λ_u (1/U) Σ w CE(q̂, S(x_us)) ]

Weights come from the aligned distributions, pseudo-labels from q, as the paper says. Its text has s = 1 and its
released code s = 2, which is the default here.
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
    """Settings of SoftMatch."""

    decay: float = 0.99
    """m, of the running means. The paper's is 0.999, for runs of a million steps."""
    sharpness: float = 2.0
    """s, by which the Gaussian is narrower than the standard deviation of the confidences."""
    pseudo_weight: float = 1.0
    """λ_u, the weight of the pseudo-labels' loss."""
    smoothing: float = 0.0
    """Label smoothing of the supervised loss."""


def step(learners: Learners, batch: Batch, runtime: Runtime, settings: Settings, index: StepIndex) -> StepReport:
    """Does one step; scalars student_loss, supervised_loss, pseudo_loss, confident (mean w), confidence (μ), spread.

    `memory` keeps p̄ (K,), μ () and σ² (). The record has the weak view as the teacher's, the strong as the student's.
    """
    net, memory = learners.student.net, learners.memory
    with torch.no_grad():
        weak = at_least_float32(net(batch.x_uw))
    q = weak.softmax(-1)

    now = method_state.mean_row(q, runtime)
    p = method_state.running_mean(memory, "class_probability", now, settings.decay, now)
    sure = losses.rescaled(q / p.clamp_min(torch.finfo(p.dtype).tiny)).amax(-1)
    mean, variance = _moments(sure, runtime)
    mean = method_state.running_mean(memory, "confidence", mean, settings.decay, method_state.uniform(weak)[0])
    variance = method_state.running_mean(memory, "variance", variance, settings.decay, torch.ones_like(variance))
    weight = truncated_gaussian(sure, mean, variance / settings.sharpness**2)

    labelled, strong = forward_concat(net, batch.x_l, batch.x_us)
    supervised = losses.supervised(labelled, batch.y_l, smoothing=settings.smoothing)
    pseudo = losses.masked_cross_entropy(strong, weak.argmax(-1), weight)
    loss = supervised + settings.pseudo_weight * pseudo
    learners.student.descend(loss, runtime)
    scalars = {
        "student_loss": loss.detach(),
        "supervised_loss": supervised.detach(),
        "pseudo_loss": pseudo.detach(),
        "confident": weight.mean(),
        "confidence": mean,
        "spread": variance.sqrt(),
    }
    return StepReport(scalars=scalars, predictions=step_predictions(teacher=weak, student=strong))


def truncated_gaussian(sure: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """Returns w (U,): 1 for probabilities (U,) of at least `mean`, a Gaussian of that variance below."""
    below = (sure - mean).clamp_max(0)
    return torch.exp(-below.square() / (2 * variance.clamp_min(torch.finfo(sure.dtype).tiny)))


def _moments(sure: Tensor, runtime: Runtime) -> tuple[Tensor, Tensor]:
    """Returns mean () and unbiased variance () of probabilities (U,) over the batch of all processes."""
    count = runtime.reduce(torch.ones_like(sure).sum(), "sum")
    mean = runtime.reduce(sure.mean(), "mean")
    variance = runtime.reduce((sure - mean).square().mean(), "mean")
    return mean, variance * count / (count - 1).clamp_min(1)
