"""ReMixMatch (Berthelot et al., 2020, https://arxiv.org/abs/1911.09785, Algorithm 1).

Paper to code   weak view the anchor    strong view û_1    T temperature    p(y), p̃(y) running means over 128 steps of
                the labels and of the predictions for weak views, over all processes

    q     = sharpened(norm(p(x_uw) · p(y) / p̃(y)), T)        distribution alignment, then sharpening
    W     = shuffle(all);  X' of (x_l, y_l), U' of (û_1, q) and (x_uw, q), mixed with W as in `mixmatch`
    θ_S'  = θ_S - η ∇ [ CE over X' + λ_u CE over U' + λ_û1 CE(q, S(û_1)) + λ_r CE(r, R(rotated û_1)) ]

The paper has K = 8 strong views by CTAugment; a batch here has one strong view from the trainer. The paper's labelled
images are strongly augmented; here they are augmented as in every other method. As in the released code, the alignment
uses the means from before the step, whose 128 entries start uniform, and both λ_u and λ_û1 rise linearly.

The rotation loss (which of four quarter turns was applied?) is for images (N, C, H, W) with H = W, and is left out on
features. Its head R is a linear layer on the input of the network's last linear layer. It starts at zero, is stored in
`memory`, and is trained by plain gradient descent at the student's rate.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from gradebook.mpl import losses, method_state, mixup
from gradebook.mpl.schedules import ramp
from gradebook.mpl.step import (
    Batch,
    Learners,
    Runtime,
    StepIndex,
    StepReport,
    at_least_float32,
    average_over_processes,
    forward_concat,
    step_predictions,
)

STEPS = 128  # over which the running means are taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of ReMixMatch."""

    temperature: float = 0.5
    """T, of the sharpened guess."""
    alpha: float = 0.75
    """α of the Beta distribution of λ."""
    guess_weight: float = 1.5
    """λ_u, the weight of the mixed guesses."""
    strong_weight: float = 0.5
    """λ_û1, the weight of the strong view, unmixed."""
    rotation_weight: float = 0.5
    """λ_r, the weight of the rotation loss (images only)."""
    guess_ramp: float = 1 / 64
    """Share of the run over which λ_u and λ_û1 rise."""


def step(learners: Learners, batch: Batch, runtime: Runtime, settings: Settings, index: StepIndex) -> StepReport:
    """Does one step; scalars student_loss, supervised_loss, guess_loss, strong_loss, and rotation_loss on images.

    `memory` keeps the entries of p(y) and p̃(y) (128, K) and R. The record has the guess as the teacher's
    prediction, and that for the strong view, unmixed, as the student's.
    """
    student, memory = learners.student, learners.memory
    x_l, x_uw, x_us = (mixup.floating(x) for x in (batch.x_l, batch.x_uw, batch.x_us))
    with torch.no_grad():
        weak = at_least_float32(student.net(x_uw))
    q = aligned(weak.softmax(-1), _recent(memory, "labels", weak), _recent(memory, "guesses", weak))
    q = losses.sharpen(q, settings.temperature)
    _remember(memory, "labels", method_state.class_shares(batch.y_l, weak, runtime))
    _remember(memory, "guesses", method_state.mean_row(weak.softmax(-1), runtime))

    inputs = torch.cat([x_l, x_us, x_uw])
    targets = torch.cat([losses.one_hot(batch.y_l, q), q, q])
    order = mixup.shuffled(len(inputs), inputs)
    share = mixup.shares(len(inputs), settings.alpha, inputs)
    share = torch.maximum(share, 1 - share)
    inputs, targets = (mixup.mixed(part, part[order], share) for part in (inputs, targets))

    labelled, guessed, strong = forward_concat(student.net, *inputs.split([len(x_l), 2 * len(x_us)]), x_us)
    supervised = losses.soft_cross_entropy(labelled, targets[: len(x_l)]).mean()
    guess = losses.soft_cross_entropy(guessed, targets[len(x_l) :]).mean()
    anchored = losses.soft_cross_entropy(strong, q).mean()
    rise = ramp(index, settings.guess_ramp)
    loss = supervised + rise * (settings.guess_weight * guess + settings.strong_weight * anchored)
    scalars = {"supervised_loss": supervised, "guess_loss": guess, "strong_loss": anchored}
    head: dict[str, Tensor] = {}
    if x_us.dim() == 4 and settings.rotation_weight > 0:
        rotation, head = _rotation_loss(student.net, x_us, memory)
        loss = loss + settings.rotation_weight * rotation
        scalars["rotation_loss"] = rotation
    student.descend(loss, runtime)
    _descend_head(head, memory, student.rate, runtime)
    scalars = {name: value.detach() for name, value in {"student_loss": loss, **scalars}.items()}
    return StepReport(scalars=scalars, predictions=step_predictions(teacher=losses.as_logits(q), student=strong))


def aligned(p: Tensor, labels: Tensor, guesses: Tensor) -> Tensor:
    """Returns norm(p · p(y) / p̃(y)), (U, K); 10⁻⁶ keeps the ratio finite, as in the released code."""
    return losses.rescaled(p * (labels + 1e-6) / (guesses + 1e-6))


def turned(x: Tensor, quarters: Tensor) -> Tensor:
    """Returns each image (U, C, S, S) after its number (U,) of quarter turns, counter-clockwise."""
    if x.shape[-1] != x.shape[-2]:
        raise ValueError(f"images of {x.shape[-2]} by {x.shape[-1]} px cannot be rotated: give square ones")
    rotations = torch.stack([torch.rot90(x, k, (-2, -1)) for k in range(4)])
    return rotations[quarters, torch.arange(len(x), device=x.device)]


def _rotation_loss(net: nn.Module, x_us: Tensor, memory: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Returns CE(r, R(turned x_us)) () in nats, and R's tensors as leaves whose gradient it fills."""
    quarters = torch.randint(4, (len(x_us),), device=x_us.device)
    with _last_inputs(net) as seen:
        net(turned(x_us, quarters))
    if len(seen) > 1:
        raise ValueError("the rotation loss needs its images in one piece: give --rotation-weight 0, or --accumulate 1")
    features = at_least_float32(seen[-1]).flatten(1)
    zeros = features.new_zeros(4, features.shape[-1] + 1)
    weight, bias = memory.get("rotation", zeros).split([features.shape[-1], 1], dim=1)
    head = {"weight": weight.detach().clone().requires_grad_(), "bias": bias.detach().clone().requires_grad_()}
    logits = features @ head["weight"].t() + head["bias"][:, 0]
    return nnf.cross_entropy(logits, quarters), head


def _descend_head(head: dict[str, Tensor], memory: dict[str, Tensor], rate: float, runtime: Runtime) -> None:
    if not head:
        return
    gradients = [part.grad for part in head.values() if part.grad is not None]
    average_over_processes(gradients, runtime)
    parts = [part.detach() - rate * g for part, g in zip(head.values(), gradients, strict=True)]
    memory["rotation"] = torch.cat(parts, dim=1)


@contextmanager
def _last_inputs(net: nn.Module) -> Iterator[list[Tensor]]:
    """Collects the inputs of the network's last linear layer: the features before its classifier."""
    layers = [module for module in net.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise ValueError("the rotation loss needs a network that ends in a linear layer: give --rotation-weight 0")
    seen: list[Tensor] = []
    hook = layers[-1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        yield seen
    finally:
        hook.remove()


def _recent(memory: dict[str, Tensor], name: str, logits: Tensor) -> Tensor:
    """Returns the mean (K,) of the last 128 entries, which begin uniform."""
    start = method_state.uniform(logits).expand(STEPS, -1)
    memory.setdefault(name, start.clone())
    return memory[name].mean(0)


def _remember(memory: dict[str, Tensor], name: str, entry: Tensor) -> None:
    memory[name] = torch.cat([memory[name][1:], entry[None]])
