"""What methods remember of classes and samples in `Learners.memory`, the same on every process.

Shape legend    N samples of the run    U unlabelled images of a step    K classes

A process sees its slice of the batch alone. So whatever is remembered is first reduced over the processes, and two
with half a batch each remember what one with all of it does. What is kept of every sample is updated through a dense
tensor of N rows, because a sum over the processes is all that a `Runtime` has: exact, at N rows of traffic a step.
"""

import torch
import torch.nn.functional as nnf
from torch import Tensor

from gradebook.mpl.losses import one_hot
from gradebook.mpl.step import Runtime


def running_mean(memory: dict[str, Tensor], name: str, value: Tensor, decay: float, start: Tensor) -> Tensor:
    """Moves memory[name] to decay · memory[name] + (1 - decay) · value, from `start` on, and returns it, detached."""
    kept = memory.get(name, start)
    memory[name] = (decay * kept + (1 - decay) * value).detach()
    return memory[name]


def uniform(logits: Tensor) -> Tensor:
    """Returns the uniform distribution (K,) over the classes of logits (U, K)."""
    return torch.full_like(logits[0], 1 / logits.shape[-1]).detach()


def mean_row(rows: Tensor, runtime: Runtime) -> Tensor:
    """Returns the mean (K,) of rows (U, K) over the batch of all processes, detached."""
    return runtime.reduce(rows.detach().mean(0), "mean")


def class_shares(labels: Tensor, logits: Tensor, runtime: Runtime) -> Tensor:
    """Returns the share of each class among labels (U,) over the batch of all processes: (K,), typed as `logits`."""
    return mean_row(one_hot(labels, logits), runtime)


def mean_by_sample(rows: Tensor, positions: Tensor, samples: int, runtime: Runtime) -> tuple[Tensor, Tensor]:
    """Gathers what a step says of its samples, from all processes.

    Args:
        rows: (U, K) what is said of each image.
        positions: (U,) int64 which sample each image is; one may come more than once.
        samples: N.
        runtime: see `Runtime`.

    Returns:
        (N, K) the mean of what was said of each sample, and (N,) bool whether anything was; detached.
    """
    total = rows.new_zeros(samples, rows.shape[-1] + 1)
    total.index_add_(0, positions, nnf.pad(rows.detach(), (0, 1), value=1.0))
    total = runtime.reduce(total, "sum")
    times = total[:, -1:]
    return total[:, :-1] / times.clamp_min(1), times[:, 0] > 0


def agreed_by_sample(labels: Tensor, said: Tensor, positions: Tensor, samples: int, runtime: Runtime) -> Tensor:
    """Gathers a step's labels of its samples, from all processes.

    A sample may come more than once in a step. It gets a label if all that was said of it agrees: n labels c are all
    equal exactly where n Σ c² = (Σ c)², which sums of integers can tell, in any order.

    Args:
        labels: (U,) int64.
        said: (U,) bool, False where an image's label does not count.
        positions: (U,) int64 which sample each image is.
        samples: N.
        runtime: see `Runtime`.

    Returns:
        (N,) int64 label of each sample, -1 where nothing was said or what was said differs.
    """
    count = said.long()
    moments = torch.stack([count, count * labels, count * labels.square()])
    sums = labels.new_zeros(3, samples).index_add_(1, positions, moments)
    n, first, second = runtime.reduce(sums, "sum").unbind()
    agreed = (n > 0) & (n * second == first.square())
    return torch.where(agreed, first // n.clamp_min(1), -1)
