"""Many small networks trained as one network: fifty runs of a method in the time of a few.

Shape legend    R runs    N samples    K classes    U unlabelled samples
rows            (N·R, ...): row n·R + r is the n-th sample of run r

The losses of `mpl` are means over rows. Over N·R rows such a mean is the mean of the runs' losses, so its gradient in a
run's weights is 1/R of that run's own gradient. At R times the learning rate η every run therefore moves as it would on
its own, and F = -Rη ⟨g/R, ∇ log S⟩ is unchanged. Two quantities depend on the whole batch: the root mean square that
divides F, and the number h of `reinforce`. `step` below is `gradebook.mpl.methods.mpl.step` with these two computed for
each run. Every other method is used unchanged.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from gradebook.mpl import feedback as fb
from gradebook.mpl import losses as objectives
from gradebook.mpl.methods.mpl import Settings
from gradebook.mpl.step import Batch, Learner, Learners, Runtime, forward_concat
from gradebook.mpl.student_step import student_step

Loss = Callable[[Tensor], Tensor]


class SideBySide(nn.Module):
    """R networks of the same shape with sigmoid units, weights from U(-bound, bound); maps rows to rows."""

    def __init__(self, sizes: Sequence[int], random: Sequence[torch.Generator], *, bound: float):
        super().__init__()
        self.runs = len(random)

        def random_weight(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.stack([bound * (2 * torch.rand(shape, generator=g) - 1) for g in random]))

        self.weights = nn.ParameterList(random_weight(fan_in, fan_out) for fan_in, fan_out in pairwise(sizes))
        self.biases = nn.ParameterList(random_weight(1, fan_out) for fan_out in sizes[1:])

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits (N·R, K) of rows (N·R, D)."""
        hidden = x.view(-1, self.runs, x.shape[-1]).transpose(0, 1)  # (R, N, D)
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = torch.baddbmm(bias, hidden.sigmoid() if k else hidden, weight)
        return as_rows(hidden)


def as_rows(values: Tensor) -> Tensor:
    """Returns (R, N, ...) as rows (N·R, ...), sample by sample, so that batches can be concatenated."""
    return values.transpose(0, 1).flatten(0, 1)


def by_run(rows: Tensor, runs: int) -> Tensor:
    """Returns rows (N·R, ...) as (R, N, ...)."""
    return rows.view(-1, runs, *rows.shape[1:]).transpose(0, 1)


def learner(net: SideBySide, rate: float, momentum: float) -> Learner:
    """Returns a learner that trains each network at `rate` on its own loss, given the mean of these losses."""
    return Learner(net=net, optimizer=torch.optim.SGD(net.parameters(), rate * net.runs, momentum=momentum))


def step(learners: Learners, batch: Batch, runtime: Runtime, settings: Settings) -> None:
    """Does one step of `gradebook.mpl.methods.mpl` in every run, with the feedback `exact` or `reinforce`."""
    student, teacher = learners.student, learners.teacher
    assert teacher is not None and isinstance(student.net, SideBySide)
    with torch.no_grad():
        teacher_logits = teacher.net(batch.x_uw)
    student_update = {"exact": _exact, "reinforce": _reinforce}[settings.feedback]
    feedback_loss = student_update(learners, student.net.runs, teacher_logits, batch, runtime, settings)
    labelled, strong = forward_concat(teacher.net, batch.x_l, batch.x_us)
    supervised = objectives.supervised(labelled, batch.y_l)
    uda, _ = objectives.uda(strong, teacher_logits, temperature=settings.temperature, threshold=settings.threshold)
    loss = supervised + settings.uda_weight * uda + settings.feedback_weight * feedback_loss(teacher.net(batch.x_uw))
    teacher.descend(loss, runtime)


def _exact(
    learners: Learners, runs: int, teacher_logits: Tensor, batch: Batch, runtime: Runtime, settings: Settings
) -> Loss:
    """Updates the student; returns L_fb as a function of the teacher's logits (U·R, K)."""
    matrix = student_step(learners.student, teacher_logits, batch, runtime, "exact").feedback
    assert matrix is not None
    if settings.normalise:
        own = by_run(matrix, runs)
        scale = own.square().mean((1, 2), keepdim=True).sqrt().clamp_min(torch.finfo(own.dtype).tiny)
        matrix = as_rows(own / scale)
    return lambda weak: fb.feedback_loss(weak, matrix)


def _reinforce(
    learners: Learners, runs: int, teacher_logits: Tensor, batch: Batch, runtime: Runtime, settings: Settings
) -> Loss:
    """Updates the student; returns h · CE(ŷ, ·) as a function of the teacher's logits (U·R, K)."""
    student = learners.student

    def labelled_loss() -> Tensor:
        """Returns L_l (R,)."""
        with torch.no_grad():
            losses = nnf.cross_entropy(student.net(batch.x_l), batch.y_l, reduction="none")
            return by_run(losses, runs).mean(1)

    labels, before = fb.sampled_labels(teacher_logits), labelled_loss()
    student.descend(objectives.supervised(student.net(batch.x_us), labels), runtime)
    h = fb.reinforce_feedback(before, labelled_loss())  # (R,)
    mean = learners.memory.get("baseline", torch.zeros_like(h))
    learners.memory["baseline"] = settings.baseline * mean + (1 - settings.baseline) * h
    h = h - mean if settings.baseline else h
    return lambda weak: (by_run(nnf.cross_entropy(weak, labels, reduction="none"), runs) * h[:, None]).mean()
