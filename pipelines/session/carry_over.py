"""Transfers a model's weights to one with more classes."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

    from gradebook.mpl.step import Learner, Learners


def carry_over(old: "Learners", new: "Learners") -> None:
    """Copies weights, averages and momentum into learners for the same classes and further ones after them.

    The output weights of the further classes stay as they were initialised, without momentum. The method's own state
    is not copied, because it may depend on the number of classes.
    """
    _carry_learner(old.student, new.student)
    if old.teacher is not None and new.teacher is not None:
        _carry_learner(old.teacher, new.teacher)


def _carry_learner(old: "Learner", new: "Learner") -> None:
    import torch

    with torch.no_grad():
        _copy_net(old.net, new.net)
        if old.average is not None and new.average is not None:
            _copy_net(old.average.module, new.average.module)
        for before, after in zip(old.net.parameters(), new.net.parameters(), strict=True):
            states: dict[str, Any] = old.optimizer.state.get(before, {})
            new.optimizer.state[after] = {name: _padded(value, after) for name, value in states.items()}


def _copy_net(old: "nn.Module", new: "nn.Module") -> None:
    for before, after in zip(old.parameters(), new.parameters(), strict=True):
        after[: len(before)].copy_(before)


def _padded(value: Any, like: "Tensor") -> Any:
    """Returns an optimizer's tensor with as many rows as a wider parameter; numbers are returned as they are."""
    import torch

    if not isinstance(value, torch.Tensor) or value.dim() == 0:
        return value
    padded = torch.zeros_like(like)
    padded[: len(value)] = value
    return padded
