"""A student's step on its teacher's labels, and its answer: what the labelled loss says of them afterwards.

Shape legend    U unlabelled images    K classes

What Meta Pseudo Labels and its reduced form share: both differ only in who the teacher is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from gradebook.mpl import feedback as fb
from gradebook.mpl import losses
from gradebook.mpl.activation_recompute import sparing
from gradebook.mpl.forward_mode import Convolutions
from gradebook.mpl.rng_state import noise_state, same_noise
from gradebook.mpl.step import Batch, Learner, Runtime, full
from gradebook.mpl.step_timer import phase

Feedback = Literal["exact", "difference", "reinforce", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the student's step says back."""

    loss: Tensor  # () the student's own loss, nats
    logits: Tensor  # (U, K) of the student at θ_S
    hard: Tensor | None = None  # (U,) int64 ŷ, the labels drawn for `reinforce`
    matrix: Tensor | None = None  # (U, K) F, nats
    improvement: Tensor | None = None  # () h of `reinforce`, nats

    @property
    def alive(self) -> bool:
        """Whether there is something to learn from."""
        return self.matrix is not None or self.improvement is not None

    def scalars(self) -> dict[str, Tensor]:
        """Returns student_loss, and feedback_rms or improvement, in nats."""
        scalars = {"student_loss": self.loss}
        if self.matrix is not None:
            scalars["feedback_rms"] = self.matrix.square().mean().sqrt()
        if self.improvement is not None:
            scalars["improvement"] = self.improvement
        return scalars


def learn_and_answer(student: Learner, said: Tensor, batch: Batch, runtime: Runtime, feedback: Feedback) -> Answer:
    """Does θ_S' = θ_S - η ∇ CE(q, S(x_us; θ_S)) and measures what that did to the labelled loss.

    Args:
        student: moved by one step.
        said: (U, K) the teacher's logits; q is their softmax, and `reinforce` draws hard labels from it.
        batch: see `Batch`.
        runtime: see `Runtime`.
        feedback: how to measure.
    """
    hard = fb.sampled_labels(said) if feedback == "reinforce" else None
    before = {name: weight.clone() for name, weight in student.weights().items()} if feedback != "none" else {}
    noise = noise_state(batch.x_us.device)
    convolutions = Convolutions() if feedback == "exact" else None
    with phase("student"):
        with phase("forward"), sparing(student.net, convolutions):
            logits = full(student.net(batch.x_us))
            loss = (
                losses.soft_cross_entropy(logits, said.softmax(-1)).mean()
                if hard is None
                else losses.supervised(logits, hard)
            )
        if feedback == "reinforce":
            loss_before = _labelled_loss(student, batch, runtime)
        student.descend(loss, runtime)
    loss, logits = loss.detach(), logits.detach()
    if feedback == "none":
        return Answer(loss=loss, logits=logits)
    if feedback == "reinforce":
        improvement = fb.reinforce_feedback(loss_before, _labelled_loss(student, batch, runtime))
        return Answer(loss=loss, logits=logits, hard=hard, improvement=improvement)
    with phase("feedback gradient"):
        loss_after, gradient = fb.labelled_gradient(student.net, batch.x_l, batch.y_l, runtime)
    measure: Callable[..., tuple[Tensor, Tensor]] = (
        partial(fb.exact, convolutions=convolutions) if feedback == "exact" else partial(fb.difference, loss=loss_after)
    )
    with phase("feedback product"), same_noise(noise, batch.x_us.device):
        matrix, _ = measure(student.net, before, gradient, batch.x_us, student.rate)
    return Answer(loss=loss, logits=logits, matrix=matrix)


def feedback_loss(
    weak: Tensor, answer: Answer, memory: dict[str, Tensor], runtime: Runtime, *, normalise: bool, baseline: float
) -> Tensor:
    """Returns the teacher's feedback loss () for its logits (U, K) with their graph.

    Args:
        weak: made by the view and the noise that made the student's labels.
        answer: see `Answer`.
        memory: keeps the moving mean of h under "baseline" (reinforce).
        runtime: see `Runtime`.
        normalise: divide F by its root mean square over the batch of all processes.
        baseline: decay of the moving mean that is taken off h; 0 takes nothing off.
    """
    if answer.matrix is not None:
        return fb.feedback_loss(weak, fb.normalised(answer.matrix, runtime) if normalise else answer.matrix)
    assert answer.improvement is not None and answer.hard is not None
    h = answer.improvement
    mean = memory.get("baseline", torch.zeros_like(h))
    memory["baseline"] = baseline * mean + (1 - baseline) * h
    return fb.reinforce_loss(weak, answer.hard, h - mean if baseline else h)


def _labelled_loss(student: Learner, batch: Batch, runtime: Runtime) -> Tensor:
    """Returns L_l (): same images, same BatchNorm batch and no noise each time, or h would drown in them."""
    with torch.no_grad(), fb.without_noise(student.net):
        logits = fb.undisturbed(student.net, batch.x_l)
        return runtime.reduce(losses.supervised(logits, batch.y_l), "mean")
