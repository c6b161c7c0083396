"""The student's step on its teacher's pseudo-labels, and its feedback: the change in labelled loss.

Shape legend    U unlabelled images    K classes

Shared by Meta Pseudo Labels and its reduced form, which differ in their teacher.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from gradebook.mpl import feedback as fb
from gradebook.mpl import losses
from gradebook.mpl.activation_recompute import recompute_activations
from gradebook.mpl.forward_mode import ConvolutionCache
from gradebook.mpl.rng_state import get_rng_state, replay_rng
from gradebook.mpl.step import Batch, Learner, Runtime, at_least_float32
from gradebook.mpl.step_timer import phase

FeedbackKind = Literal["exact", "difference", "reinforce", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentUpdate:
    """The result of one step of the student, with the feedback for its teacher."""

    loss: Tensor  # () the student's own loss, nats
    logits: Tensor  # (U, K) of the student at θ_S
    sampled_labels: Tensor | None = None  # (U,) int64 ŷ, the labels drawn for `reinforce`
    feedback: Tensor | None = None  # (U, K) F, nats
    improvement: Tensor | None = None  # () h of `reinforce`, nats

    @property
    def has_feedback(self) -> bool:
        """Whether the teacher can learn from this step."""
        return self.feedback is not None or self.improvement is not None

    def scalars(self) -> dict[str, Tensor]:
        """Returns student_loss, and feedback_rms or improvement, in nats."""
        scalars = {"student_loss": self.loss}
        if self.feedback is not None:
            scalars["feedback_rms"] = self.feedback.square().mean().sqrt()
        if self.improvement is not None:
            scalars["improvement"] = self.improvement
        return scalars


def student_step(
    student: Learner, teacher_logits: Tensor, batch: Batch, runtime: Runtime, feedback: FeedbackKind
) -> StudentUpdate:
    """Does θ_S' = θ_S - η ∇ CE(q, S(x_us; θ_S)) and measures the effect on the labelled loss.

    Args:
        student: updated by one step.
        teacher_logits: (U, K); q is their softmax, and `reinforce` draws hard labels from it.
        batch: see `Batch`.
        runtime: see `Runtime`.
        feedback: how the effect is measured.
    """
    labels = fb.sampled_labels(teacher_logits) if feedback == "reinforce" else None
    before = {name: weight.clone() for name, weight in student.weights().items()} if feedback != "none" else {}
    noise = get_rng_state(batch.x_us.device)
    convolutions = ConvolutionCache() if feedback == "exact" else None
    with phase("student"):
        with phase("forward"), recompute_activations(student.net, convolutions):
            logits = at_least_float32(student.net(batch.x_us))
            loss = (
                losses.soft_cross_entropy(logits, teacher_logits.softmax(-1)).mean()
                if labels is None
                else losses.supervised(logits, labels)
            )
        if feedback == "reinforce":
            loss_before = _labelled_loss(student, batch, runtime)
        student.descend(loss, runtime)
    loss, logits = loss.detach(), logits.detach()
    if feedback == "none":
        return StudentUpdate(loss=loss, logits=logits)
    if feedback == "reinforce":
        improvement = fb.reinforce_feedback(loss_before, _labelled_loss(student, batch, runtime))
        return StudentUpdate(loss=loss, logits=logits, sampled_labels=labels, improvement=improvement)
    with phase("feedback gradient"):
        loss_after, gradient = fb.labelled_gradient(student.net, batch.x_l, batch.y_l, runtime)
    measure: Callable[..., tuple[Tensor, Tensor]] = (
        partial(fb.exact, convolutions=convolutions) if feedback == "exact" else partial(fb.difference, loss=loss_after)
    )
    with phase("feedback product"), replay_rng(noise, batch.x_us.device):
        product, _ = measure(student.net, before, gradient, batch.x_us, student.rate)
    return StudentUpdate(loss=loss, logits=logits, feedback=product)


def teacher_feedback_loss(
    teacher_logits: Tensor,
    update: StudentUpdate,
    memory: dict[str, Tensor],
    runtime: Runtime,
    *,
    normalise: bool,
    baseline: float,
) -> Tensor:
    """Returns the teacher's feedback loss () for its logits (U, K) with their graph.

    Args:
        teacher_logits: of the view and with the random numbers that made the student's pseudo-labels.
        update: see `StudentUpdate`.
        memory: holds the moving mean of h as "baseline" (reinforce).
        runtime: see `Runtime`.
        normalise: divide F by its root mean square over the batch of all processes.
        baseline: decay of the moving mean that is subtracted from h; 0 subtracts nothing.
    """
    if update.feedback is not None:
        feedback = fb.normalised(update.feedback, runtime) if normalise else update.feedback
        return fb.feedback_loss(teacher_logits, feedback)
    assert update.improvement is not None and update.sampled_labels is not None
    h = update.improvement
    mean = memory.get("baseline", torch.zeros_like(h))
    memory["baseline"] = baseline * mean + (1 - baseline) * h
    return fb.reinforce_loss(teacher_logits, update.sampled_labels, h - mean if baseline else h)


def _labelled_loss(student: Learner, batch: Batch, runtime: Runtime) -> Tensor:
    """Returns L_l () without dropout, whose noise would hide h."""
    with torch.no_grad(), fb.dropout_off(student.net):
        logits = fb.forward_with_buffers_restored(student.net, batch.x_l)
        return runtime.reduce(losses.supervised(logits, batch.y_l), "mean")
