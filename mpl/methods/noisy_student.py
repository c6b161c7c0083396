"""Noisy Student (Xie et al., 2020, https://arxiv.org/abs/1911.04252, Algorithm 1), with an equal student.

The run is cut into `rounds` + 1 equal parts. The first trains on labels alone; each later one takes the network of the
part before as its teacher, and starts a student afresh:

    teacher   T ← the averaged student where an average is kept, else the student;   θ_S ← the run's first weights
    labels    q = softmax T(x_uw)
    student   θ_S' = θ_S - η ∇ [ CE(y_l, S(x_l)) + w (1/U) Σ 1(max q >= threshold) CE(q, S(x_us)) ]

The teacher labels without noise: weak view, evaluation mode. The student has noise: strong view, and whatever dropout
and stochastic depth its network has. Labels are soft, the paper's first choice. "Afresh" is from pretrained weights
where the run has them; the optimiser and the average start afresh too, while the learning rate goes on falling over
the whole run. Left out: a student larger than its teacher, since a run has one student; and the paper's balancing,
which repeats images of rare classes, since a step sees a batch and not the pool. Images are labelled when they come up
and not all at once, which gives the same label up to the weak view.

Both networks that are no longer trained, or not yet, are in `memory` by name ("first.", "teacher."), so that
checkpoints hold them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mpl import objectives
from mpl.step import Batch, Clock, Learner, Learners, Runtime, StepReport, evaluating, full, opinions, together


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What Noisy Student can be told."""

    rounds: int = 3
    """Students that are trained, one after another, once the first teacher is."""
    pseudo_weight: float = 1.0
    """w, the weight of the pseudo-labels' loss."""
    threshold: float = 0.3
    """Teacher's probability from which a pseudo-label counts: the paper's."""
    smoothing: float = 0.0
    """Label smoothing of the supervised losses."""


def step(learners: Learners, batch: Batch, runtime: Runtime, settings: Settings, clock: Clock) -> StepReport:
    """Does one step; scalars student_loss, supervised_loss, and in later parts pseudo_loss, confident, round (from 1).

    Raises:
        ValueError: the run is too short for its rounds.
    """
    if clock.steps <= settings.rounds:
        raise ValueError(f"{clock.steps} steps are too few for {settings.rounds} rounds: give more, or --rounds 1")
    student, memory = learners.student, learners.memory
    number = _round(clock.at, clock, settings)
    if not _named("first.", memory):
        memory |= _copied("first.", student.net)
    if number > _round(clock.at - 1, clock, settings):
        memory |= _copied("teacher.", student.best_net())
        _start_afresh(student, memory)
    if number == 0:
        loss = objectives.supervised(full(student.net(batch.x_l)), batch.y_l, smoothing=settings.smoothing)
        student.descend(loss, runtime)
        return StepReport(scalars={"student_loss": loss.detach(), "supervised_loss": loss.detach()})

    with torch.no_grad(), evaluating(student.net) as net:
        said = full(functional_call(net, _named("teacher.", memory), (batch.x_uw,)))
    mask = objectives.confident(said, settings.threshold)
    labelled, strong = together(student.net, batch.x_l, batch.x_us)
    supervised = objectives.supervised(labelled, batch.y_l, smoothing=settings.smoothing)
    pseudo = (objectives.soft_cross_entropy(strong, said.softmax(-1)) * mask).mean()
    loss = supervised + settings.pseudo_weight * pseudo
    student.descend(loss, runtime)
    scalars = {
        "student_loss": loss.detach(),
        "supervised_loss": supervised.detach(),
        "pseudo_loss": pseudo.detach(),
        "confident": mask.mean(),
        "round": torch.full_like(mask[0], number),
    }
    return StepReport(scalars=scalars, opinions=opinions(teacher=said, student=strong))


def _round(at: int, clock: Clock, settings: Settings) -> int:
    """Returns which part of the run a step is in: 0 trains on labels alone."""
    return at * (settings.rounds + 1) // clock.steps


def _copied(prefix: str, net: nn.Module) -> dict[str, Tensor]:
    return {prefix + name: value.detach().clone() for name, value in net.state_dict().items()}


def _named(prefix: str, memory: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in memory.items() if name.startswith(prefix)}


def _start_afresh(student: Learner, memory: dict[str, Tensor]) -> None:
    """Puts the run's first weights into the student, and takes away what its optimiser and its average remember."""
    student.net.load_state_dict(_named("first.", memory))
    student.optimizer.state.clear()
    if student.average is not None:
        student.average.module.load_state_dict(student.net.state_dict())
