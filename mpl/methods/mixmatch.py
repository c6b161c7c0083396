"""MixMatch (Berthelot et al., 2019, https://arxiv.org/abs/1905.02249, Algorithm 1).

Paper to code   û_1, û_2 two augmentations of an image: its weak and its strong view    T temperature    λ ~ Beta(α, α)

    q     = sharpen((p(û_1) + p(û_2)) / 2, T)                                guess, one for all views of an image
    X̂, Û  = (x_l, y_l), (û_1 and û_2, q and q);   W = shuffle(X̂ ∪ Û)
    X'_i  = mix(X̂_i, W_i),  U'_i = mix(Û_i, W_{B+i}),  mix(a, b) = λ' a + (1-λ') b,  λ' = max(λ, 1-λ)
    θ_S'  = θ_S - η ∇ [ (1/B) Σ_X' CE(y', S(x')) + λ_u (1/2UK) Σ_U' ‖q' - softmax S(u')‖² ]

The paper has K = 2 augmentations of the same kind; here they are the weak and the strong view. A λ is drawn for each
row, as in the released code; each process mixes within its own slice of the batch. λ_u rises linearly. The paper
predicts with averaged weights, for which the trainer has an option.
"""

from dataclasses import dataclass

import torch

from gradebook.mpl import losses, mixup
from gradebook.mpl.schedules import ramp
from gradebook.mpl.step import Batch, Learners, Runtime, StepIndex, StepReport, forward_concat, step_predictions


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of MixMatch."""

    temperature: float = 0.5
    """T, of the sharpened guess."""
    alpha: float = 0.75
    """α of the Beta distribution of λ."""
    guess_weight: float = 75.0
    """λ_u, the weight of the unlabelled loss, as in the paper for CIFAR-10."""
    guess_ramp: float = 1 / 64
    """Share of the run over which it rises; the paper's is 16,000 of a million steps."""


def step(learners: Learners, batch: Batch, runtime: Runtime, settings: Settings, index: StepIndex) -> StepReport:
    """Does one step; scalars student_loss, supervised_loss, guess_loss.

    The record has the sharpened guess as the teacher's prediction, and that for the strong view as the student's.
    """
    net = learners.student.net
    x_l, x_uw, x_us = (mixup.floating(x) for x in (batch.x_l, batch.x_uw, batch.x_us))
    with torch.no_grad():
        weak, strong = forward_concat(net, x_uw, x_us)
    q = losses.sharpen((weak.softmax(-1) + strong.softmax(-1)) / 2, settings.temperature)

    inputs = torch.cat([x_l, x_uw, x_us])
    targets = torch.cat([losses.one_hot(batch.y_l, q), q, q])
    order = mixup.shuffled(len(inputs), inputs)
    share = mixup.shares(len(inputs), settings.alpha, inputs)
    share = torch.maximum(share, 1 - share)  # a mix is nearer to its first part
    inputs, targets = (mixup.mixed(part, part[order], share) for part in (inputs, targets))

    labelled, guessed = forward_concat(net, *inputs.split([len(x_l), 2 * len(x_uw)]))
    supervised = losses.soft_cross_entropy(labelled, targets[: len(x_l)]).mean()
    guess = losses.squared(guessed, targets[len(x_l) :]).mean()
    loss = supervised + settings.guess_weight * ramp(index, settings.guess_ramp) * guess
    learners.student.descend(loss, runtime)
    scalars = {
        "student_loss": loss.detach(),
        "supervised_loss": supervised.detach(),
        "guess_loss": guess.detach(),
    }
    return StepReport(scalars=scalars, predictions=step_predictions(teacher=losses.as_logits(q), student=strong))
