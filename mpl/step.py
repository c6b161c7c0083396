"""The interface of methods: the batch, the learners to train, and the report of one step.

Shape legend    B labelled images    U unlabelled images    K classes    ... an image (C, H, W) or features (D,)

A method is a file in `mpl/methods/` with frozen `Settings` and a function

    step(learners, batch, runtime, settings, index) -> StepReport

that follows its paper's algorithm. It updates parameters only through `Learner.descend`, and needs only the two methods
of `Runtime` from its host, which `accelerate.Accelerator` has.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import torch
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from gradebook.mpl.step_timer import phase


class Runtime(Protocol):
    """Backward pass and communication between processes. Every process makes the same calls in the same order."""

    def backward(self, loss: Tensor) -> None:
        """Adds the gradient of `loss` () to the parameters' `.grad`."""

    def reduce(self, tensor: Tensor, reduction: str) -> Tensor:
        """Returns the "sum" or "mean" of `tensor` over the processes, on each of them."""


class SingleProcess:
    """Runtime of a single process without mixed precision."""

    def backward(self, loss: Tensor) -> None:
        """See `Runtime`."""
        torch.autograd.backward(loss)

    def reduce(self, tensor: Tensor, reduction: str) -> Tensor:
        """See `Runtime`."""
        assert reduction in {"sum", "mean"}
        return tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The data of one step: images, or cached features of them."""

    x_l: Tensor  # (B, ...) labelled images, augmented
    y_l: Tensor  # (B,) int64 class of each
    x_uw: Tensor  # (U, ...) unlabelled images, weak view
    x_us: Tensor  # (U, ...) the same images, strong view
    id_u: Tensor  # (U,) int64 position of each in the run's list of samples


@dataclass(frozen=True, slots=True)
class StepIndex:
    """The position of a step in its run."""

    step: int  # from 0
    total: int  # steps of the run


@dataclass(slots=True)
class Learner:
    """A network, its optimiser, and the exponential moving average of its weights, if there is one."""

    net: nn.Module
    optimizer: Optimizer
    average: ModelEmaV3 | None = None
    clip: float | None = None  # largest norm of the gradient

    @property
    def rate(self) -> float:
        """The learning rate η of this step."""
        rate = self.optimizer.param_groups[0]["lr"]
        assert isinstance(rate, float)
        return rate

    def weights(self) -> dict[str, Tensor]:
        """Returns the current θ by name: detached, not copied."""
        return {name: parameter.detach() for name, parameter in self.net.named_parameters()}

    def accumulate_gradient(self, part: Tensor, runtime: Runtime) -> None:
        """Adds the gradient of a part () of the loss to that of the next `descend`, and frees its graph."""
        with phase("backward"):
            runtime.backward(part)

    def descend(self, loss: Tensor, runtime: Runtime) -> None:
        """Does one optimiser step with the gradient of `loss` (), averaged over the processes.

        Accumulated gradients are included. Gradients of sharded weights are averaged by the backward pass itself.
        """
        self.accumulate_gradient(loss, runtime)
        with phase("optimizer"):
            self._move(runtime)
        if self.average is not None:
            with phase("average"):
                self.average.update(self.net)

    def _move(self, runtime: Runtime) -> None:
        gradients = [p.grad for p in self.net.parameters() if p.grad is not None and not isinstance(p, DTensor)]
        average_over_processes(gradients, runtime)
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.net.parameters(), self.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        torch.clear_autocast_cache()  # it may hold the old weights in half precision

    def best_net(self) -> nn.Module:
        """Returns the network to predict with: the averaged one, if there is an average."""
        return self.net if self.average is None else self.average.module


@dataclass(slots=True, kw_only=True)
class Learners:
    """All trained networks and the state of a method: the content of a checkpoint."""

    student: Learner
    teacher: Learner | None = None
    memory: dict[str, Tensor] = field(default_factory=dict)  # a method's state between steps
    samples: int = 0  # N, length of the run's list of samples, which `Batch.id_u` indexes
    unlabelled: int = 0  # how many of them are unlabelled


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPredictions:
    """Predictions for the unlabelled images of a step: the rows of the record. All detached."""

    teacher_label: Tensor | None = None  # (U,) int64 the teacher's class
    teacher_probability: Tensor | None = None  # (U,) its probability of that class
    runner_up: Tensor | None = None  # (U,) int64 its second class
    student_label: Tensor | None = None  # (U,) int64 the student's class
    student_probability: Tensor | None = None  # (U,) its probability of that class
    feedback: Tensor | None = None  # (U,) F of the teacher's label, nats of labelled loss saved
    best_label: Tensor | None = None  # (U,) int64 the class with the highest F
    best_gain: Tensor | None = None  # (U,) its F above that of the teacher's label, nats


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """Result of one step. Nothing in it waits for the device."""

    scalars: dict[str, Tensor]  # name -> (), detached; losses in nats
    predictions: StepPredictions | None = None


def gradient_norm(loss: Tensor, logits: Sequence[Tensor]) -> Tensor:
    """Returns the norm () of the gradient of a loss () with respect to logits, detached; the graph stays.

    It goes back no further than the logits, so it costs next to nothing beside a step.
    """
    with_graph = [part for part in logits if part.requires_grad]
    if not loss.requires_grad or not with_graph:
        return torch.zeros_like(loss.detach())
    gradients = torch.autograd.grad(loss, with_graph, retain_graph=True, allow_unused=True)
    norms = [gradient.float().norm() for gradient in gradients if gradient is not None]
    return torch.stack(norms).norm() if norms else torch.zeros_like(loss.detach())


@contextmanager
def evaluating(net: nn.Module) -> Iterator[nn.Module]:
    """Puts the network into evaluation mode, and restores the mode of each module afterwards."""
    with preserve_mode(net):
        yield net.eval()


@contextmanager
def preserve_mode(net: nn.Module) -> Iterator[None]:
    """Restores the mode, training or evaluation, of each module afterwards."""
    modes = {m: m.training for m in net.modules()}
    forget_biases(net)
    try:
        yield
    finally:
        forget_biases(net)
        for module, mode in modes.items():
            module.training = mode


def forget_biases(net: nn.Module) -> None:
    """Clears the position biases that attention layers have cached.

    timm's LeViT, EfficientFormer and TinyViT cache them in evaluation mode, but the weights may have changed since.
    """
    for module in net.modules():
        if cache := getattr(module, "attention_bias_cache", None):
            cache.clear()


def averaged(learner: Learner) -> nn.Module:
    """Returns the network of averaged weights, which is the teacher in some methods.

    Raises:
        ValueError: the learner has no average.
    """
    if learner.average is None:
        raise ValueError("this method's teacher is its student's average: give --average a decay above 0, such as 0.99")
    module: nn.Module = learner.average.module
    forget_biases(module)
    return module


def at_least_float32(tensor: Tensor) -> Tensor:
    """Returns the tensor in float32 or above: losses and probabilities are not computed in half precision."""
    return tensor if tensor.dtype.itemsize >= 4 else tensor.float()


def forward_concat(net: nn.Module, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Returns the logits of each input (N, ...), from one pass: BatchNorm sees them as one batch."""
    return tuple(torch.split(at_least_float32(net(torch.cat(inputs))), [len(x) for x in inputs]))


def average_over_processes(tensors: Iterable[Tensor], runtime: Runtime) -> None:
    """Replaces each tensor by its mean over the processes, by one reduction for each dtype."""
    by_dtype: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        by_dtype.setdefault(tensor.dtype, []).append(tensor)
    for group in by_dtype.values():
        mean = runtime.reduce(torch.cat([t.flatten() for t in group]), "mean")
        for tensor, part in zip(group, mean.split([t.numel() for t in group]), strict=True):
            tensor.copy_(part.view_as(tensor))


def mean_over_processes(tensor: Tensor, runtime: Runtime) -> Tensor:
    """Returns the mean over the processes, whose gradient is right once `descend` has averaged it.

    For losses that depend on a mean over the whole batch. The derivative of the mean is the mean of the processes'
    derivatives, so each process differentiates only its own part.
    """
    return runtime.reduce(tensor.detach(), "mean") + (tensor - tensor.detach())


def step_predictions(
    *, teacher: Tensor | None = None, student: Tensor | None = None, feedback: Tensor | None = None
) -> StepPredictions:
    """Returns the predictions and feedback of a step from logits.

    Args:
        teacher: (U, K) the teacher's logits.
        student: (U, K) the student's logits.
        feedback: (U, K) F, nats; needs `teacher`.
    """
    columns: dict[str, Tensor] = {}
    if teacher is not None:
        (probability, _), (label, second) = (t.unbind(-1) for t in teacher.detach().softmax(-1).topk(2))
        columns |= {"teacher_label": label, "teacher_probability": probability, "runner_up": second}
    if student is not None:
        probability, label = student.detach().softmax(-1).max(-1)
        columns |= {"student_label": label, "student_probability": probability}
    if feedback is not None:
        gain, best = feedback.detach().max(-1)
        of_label = feedback.detach().gather(-1, columns["teacher_label"][:, None])[:, 0]
        columns |= {"feedback": of_label, "best_label": best, "best_gain": gain - of_label}
    return StepPredictions(**columns)
