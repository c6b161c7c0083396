"""Supervised training on the labelled images alone, with the same augmentation as every other method's.

    θ_S' = θ_S - η ∇ CE(y_l, S(x_l))

The baseline of every other method, and the fine-tuning of a student on the labels (Pham et al., 2021, section 3.1) when
it starts from trained weights.
"""

from dataclasses import dataclass

from gradebook.mpl import losses
from gradebook.mpl.step import Batch, Learners, Runtime, StepIndex, StepReport, at_least_float32


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of supervised training."""

    smoothing: float = 0.0
    """Label smoothing."""


def step(learners: Learners, batch: Batch, runtime: Runtime, settings: Settings, index: StepIndex) -> StepReport:
    """Does one step; scalar student_loss. Unlabelled images are not used."""
    loss = losses.supervised(at_least_float32(learners.student.net(batch.x_l)), batch.y_l, smoothing=settings.smoothing)
    learners.student.descend(loss, runtime)
    return StepReport(scalars={"student_loss": loss.detach()})
