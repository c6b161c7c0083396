"""Noisy Student (Xie et al., 2020, https://arxiv.org/abs/1911.04252, Algorithm 1).

The run is divided into `rounds` + 1 equal parts. The first trains a teacher on the labels alone. Each later one takes
the network of the previous part as its teacher, and trains a new student:

    teacher   T ← the averaged student if there is an average, else the student;   θ_S ← the run's initial weights
    labels    q = softmax T(x_uw)
    student   θ_S' = θ_S - η ∇ [ CE(y_l, S(x_l)) + w (1/U) Σ c CE(q, S(x_us)) ]

The teacher labels without noise: weak view, evaluation mode. The student is trained with noise: strong view, and the
dropout and stochastic depth of its network. Labels are soft, the paper's first choice. A new student starts from
pretrained weights if the run has them, with a new optimiser state and average; the learning rate keeps falling over the
whole run. Images are labelled when they are in a batch, not all at once, which gives the same labels up to the weak
view.

A larger student. If the host provides a teacher, the first part trains it instead, and the student of round 1 learns
from it; from round 2 on, teacher and student have the same size. So the size grows once, as in the paper, where an
EfficientNet-L2 learns from a B7 and then another L2 from the first. More than two sizes are not supported.

Balance. The paper keeps the images whose label has a probability of at least 0.3, takes the M most confident ones of
each class, and repeats random images of classes that have fewer. A step gets a batch of the whole pool, so here an
image is weighted by c instead: 0 if the paper drops it, else such that every class has the same weight. On average over
batches that is the paper's loss. `balance` 0 does not balance classes: c = 1(max q >= threshold). The label and
probability of each image of the pool are collected in each round as images appear in batches.

Networks that are not trained at present are in `memory` by name ("first.", "teacher."), so that checkpoints have them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from gradebook.mpl import losses, method_state
from gradebook.mpl.step import (
    Batch,
    Learner,
    Learners,
    Runtime,
    StepIndex,
    StepReport,
    at_least_float32,
    evaluating,
    forward_concat,
    step_predictions,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of Noisy Student."""

    rounds: int = 3
    """Number of students that are trained one after another, after the first teacher."""
    pseudo_weight: float = 1.0
    """w, the weight of the pseudo-labels' loss."""
    threshold: float = 0.3
    """Teacher's probability from which a pseudo-label counts: the paper's."""
    balance: float = 0.5
    """M, the images of a class, as a multiple of its equal share of the pool (the paper's is about 0.43); 0 leaves
    classes as they come."""
    smoothing: float = 0.0
    """Label smoothing of the supervised losses."""


def step(learners: Learners, batch: Batch, runtime: Runtime, settings: Settings, index: StepIndex) -> StepReport:
    """Does one step.

    Returns:
        Scalars student_loss, supervised_loss, and in later parts pseudo_loss, confident (the share of images that
        count), round (from 1); only teacher_loss while a teacher of its own size is trained.

    Raises:
        ValueError: the run is too short for its rounds, or the student has fewer weights than its teacher.
    """
    _check(learners, settings, index)
    student, memory = learners.student, learners.memory
    number = _round(index.step, index, settings)
    if not _named("first.", memory):
        memory |= _copied("first.", student.net)
    if number == 0:
        learner, name = (student, "student") if learners.teacher is None else (learners.teacher, "teacher")
        loss = losses.supervised(at_least_float32(learner.net(batch.x_l)), batch.y_l, smoothing=settings.smoothing)
        learner.descend(loss, runtime)
        alone = {"supervised_loss": loss.detach()} if learners.teacher is None else {}
        return StepReport(scalars={f"{name}_loss": loss.detach(), **alone})
    if number > _round(index.step - 1, index, settings):
        _begin_round(number, learners)

    teacher_logits = _teacher_logits(number, learners, batch)
    count = _counts(teacher_logits, learners, batch, runtime, settings, _since(number, index, settings))
    labelled, strong = forward_concat(student.net, batch.x_l, batch.x_us)
    supervised = losses.supervised(labelled, batch.y_l, smoothing=settings.smoothing)
    pseudo = (losses.soft_cross_entropy(strong, teacher_logits.softmax(-1)) * count).mean()
    loss = supervised + settings.pseudo_weight * pseudo
    student.descend(loss, runtime)
    scalars = {
        "student_loss": loss.detach(),
        "supervised_loss": supervised.detach(),
        "pseudo_loss": pseudo.detach(),
        "confident": (count > 0).to(count.dtype).mean(),
        "round": torch.full_like(count[0], number),
    }
    return StepReport(scalars=scalars, predictions=step_predictions(teacher=teacher_logits, student=strong))


def copies(labels: Tensor, confidence: Tensor, *, classes: int, threshold: float, balance: float) -> Tensor:
    """Computes the weight c of each image such that all classes have the same weight, as in the paper's balanced set.

    Args:
        labels: (N,) int64, the teacher's class of each image; -1 where it is not known.
        confidence: (N,) its probability.
        classes: K.
        threshold: images with a lower probability do not count.
        balance: M = `balance` · n / K, where n images have a label; the M most confident images of a class count.

    Returns:
        (N,) with mean 1 over the n images, unless none is confident; the same for all images of a class that count.
    """
    known = (labels >= 0).sum()
    label = torch.where((labels >= 0) & (confidence >= threshold), labels, classes)  # K: does not count
    rank = _ranks(label, confidence, classes)
    counts = (label < classes) & (rank < (balance * known / classes).clamp_min(1))
    of_class = confidence.new_zeros(classes + 1).index_add(0, label, counts.to(confidence.dtype))
    present = (of_class > 0).sum().clamp_min(1)
    return torch.where(counts, known / (present * of_class[label].clamp_min(1)), 0).to(confidence.dtype)


def _check(learners: Learners, settings: Settings, index: StepIndex) -> None:
    if index.total <= settings.rounds:
        raise ValueError(f"{index.total} steps are too few for {settings.rounds} rounds: give more, or --rounds 1")
    if learners.teacher is not None:
        small, large = (sum(p.numel() for p in one.net.parameters()) for one in (learners.teacher, learners.student))
        if small > large:
            raise ValueError(
                f"Noisy Student's student is as large as its teacher or larger, but it has {large:,} weights and its "
                f"teacher {small:,}: give a larger --student-hidden or a smaller --hidden on cached views, a larger "
                f"--backbone or a smaller --teacher-backbone on pixels"
            )


def _round(at: int, index: StepIndex, settings: Settings) -> int:
    """Returns the part of the run that a step is in; part 0 trains on labels alone."""
    return at * (settings.rounds + 1) // index.total


def _since(number: int, index: StepIndex, settings: Settings) -> int:
    """Returns the number of steps of the round before this one."""
    return index.step - -(-number * index.total // (settings.rounds + 1))


def _begin_round(number: int, learners: Learners) -> None:
    """Makes the student the teacher, unless the first teacher has its own size; resets the student and the labels."""
    memory = learners.memory
    if number > 1 or learners.teacher is None:
        memory |= _copied("teacher.", learners.student.best_net())
    _reset_student(learners.student, memory)
    for name in ("label", "confidence", "copies"):
        memory.pop(name, None)


def _teacher_logits(number: int, learners: Learners, batch: Batch) -> Tensor:
    """Returns the teacher's logits (U, K) for the weak views, without noise."""
    first_teacher = learners.teacher if number == 1 else None
    with torch.no_grad():
        if first_teacher is not None:
            with evaluating(first_teacher.best_net()) as net:
                return at_least_float32(net(batch.x_uw))
        with evaluating(learners.student.net) as net:
            return at_least_float32(functional_call(net, _named("teacher.", learners.memory), (batch.x_uw,)))


def _counts(
    teacher_logits: Tensor, learners: Learners, batch: Batch, runtime: Runtime, settings: Settings, since: int
) -> Tensor:
    """Returns the weight c of each image of the batch, (U,)."""
    if not settings.balance:
        return losses.confident(teacher_logits, settings.threshold)
    memory = learners.memory
    if since * len(batch.id_u) < 2 * learners.unlabelled:  # every image is seen within two shuffled epochs
        _store_labels(teacher_logits, learners, batch, runtime)
        memory["copies"] = copies(
            memory["label"],
            memory["confidence"],
            classes=teacher_logits.shape[-1],
            threshold=settings.threshold,
            balance=settings.balance,
        )
    return memory["copies"][batch.id_u]


def _store_labels(teacher_logits: Tensor, learners: Learners, batch: Batch, runtime: Runtime) -> None:
    """Stores label and probability of the images that are seen for the first time in this round."""
    probability, label = teacher_logits.softmax(-1).max(-1)
    valid = torch.ones_like(label, dtype=torch.bool)
    now = method_state.agreed_by_sample(label, valid, batch.id_u, learners.samples, runtime)
    sure, _ = method_state.mean_by_sample(probability[:, None], batch.id_u, learners.samples, runtime)
    stored = learners.memory.get("label", torch.full_like(now, -1))
    confidence = learners.memory.get("confidence", torch.zeros_like(sure[:, 0]))
    new = stored < 0
    learners.memory["label"] = torch.where(new, now, stored)
    learners.memory["confidence"] = torch.where(new, sure[:, 0], confidence)


def _ranks(label: Tensor, confidence: Tensor, classes: int) -> Tensor:
    """Returns each image's rank (N,), from 0, by confidence among the images of its label 0..K; ties by position."""
    order = confidence.argsort(descending=True, stable=True)
    order = order[label[order].argsort(stable=True)]
    sizes = label.new_zeros(classes + 1).index_add(0, label, torch.ones_like(label))
    rank = torch.arange(len(label), device=label.device) - (sizes.cumsum(0) - sizes)[label[order]]
    return torch.empty_like(rank).scatter(0, order, rank)


def _copied(prefix: str, net: nn.Module) -> dict[str, Tensor]:
    return {prefix + name: value.detach().clone() for name, value in net.state_dict().items()}


def _named(prefix: str, memory: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in memory.items() if name.startswith(prefix)}


def _reset_student(student: Learner, memory: dict[str, Tensor]) -> None:
    """Resets the student to the run's initial weights, and the state of its optimiser and its average."""
    student.net.load_state_dict(_named("first.", memory))
    student.optimizer.state.clear()
    if student.average is not None:
        student.average.module.load_state_dict(student.net.state_dict())
