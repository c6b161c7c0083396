"""Statistics of classes and samples that methods store in `Learners.memory`, the same on every process.

Shape legend    N samples of the run    U unlabelled images of a step    K classes

A process sees only its slice of the batch, so every statistic is reduced over the processes first: two processes with
half a batch each store the same as one process with the whole batch. Statistics of samples are updated through a dense
tensor of N rows, because a `Runtime` can only sum over the processes. This is exact, at the cost of N rows of
communication per step.
"""

import torch
import torch.nn.functional as nnf
from torch import Tensor

from gradebook.mpl.losses import one_hot
from gradebook.mpl.step import Runtime


def running_mean(memory: dict[str, Tensor], name: str, value: Tensor, decay: float, start: Tensor) -> Tensor:
    """Moves memory[name] to decay · memory[name] + (1 - decay) · value, from `start` on, and returns it, detached."""
    previous = memory.get(name, start)
    memory[name] = (decay * previous + (1 - decay) * value).detach()
    return memory[name]


def uniform(logits: Tensor) -> Tensor:
    """Returns the uniform distribution (K,) over the classes of logits (U, K)."""
    return torch.full_like(logits[0], 1 / logits.shape[-1]).detach()


def mean_row(rows: Tensor, runtime: Runtime) -> Tensor:
    """Returns the mean (K,) of rows (U, K) over the batch of all processes, detached."""
    return runtime.reduce(rows.detach().mean(0), "mean")


def class_shares(labels: Tensor, logits: Tensor, runtime: Runtime) -> Tensor:
    """Returns the share (K,) of each class among labels (U,) over the batch of all processes, typed like `logits`."""
    return mean_row(one_hot(labels, logits), runtime)


def mean_by_sample(rows: Tensor, positions: Tensor, samples: int, runtime: Runtime) -> tuple[Tensor, Tensor]:
    """Returns the mean of rows by sample, over all processes.

    Args:
        rows: (U, K) one for each image.
        positions: (U,) int64 sample of each image; one may come more than once.
        samples: N.
        runtime: see `Runtime`.

    Returns:
        (N, K) the mean row of each sample, and (N,) bool whether it has one; detached.
    """
    total = rows.new_zeros(samples, rows.shape[-1] + 1)
    total.index_add_(0, positions, nnf.pad(rows.detach(), (0, 1), value=1.0))
    total = runtime.reduce(total, "sum")
    times = total[:, -1:]
    return total[:, :-1] / times.clamp_min(1), times[:, 0] > 0


def agreed_by_sample(labels: Tensor, valid: Tensor, positions: Tensor, samples: int, runtime: Runtime) -> Tensor:
    """Returns the labels of a step by sample, over all processes.

    A sample may be in a step more than once. It gets a label if all its labels agree: n labels c are equal if and only
    if n Σ c² = (Σ c)², which does not depend on the order of the sum of integers.

    Args:
        labels: (U,) int64.
        valid: (U,) bool, False where a label does not count.
        positions: (U,) int64 sample of each image.
        samples: N.
        runtime: see `Runtime`.

    Returns:
        (N,) int64 label of each sample, -1 if it has none or its labels differ.
    """
    count = valid.long()
    moments = torch.stack([count, count * labels, count * labels.square()])
    sums = labels.new_zeros(3, samples).index_add_(1, positions, moments)
    n, first, second = runtime.reduce(sums, "sum").unbind()
    agreed = (n > 0) & (n * second == first.square())
    return torch.where(agreed, first // n.clamp_min(1), -1)
