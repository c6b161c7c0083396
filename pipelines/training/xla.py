"""What differs on XLA, whose devices (TPUs) receive each step as one program; see docs/scale.md."""

from typing import TYPE_CHECKING, Any

from gradebook.pipelines.training.config import ConfigError, TrainConfig
from gradebook.pipelines.training.sampler import noise_seed

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from torch import Tensor


def check(config: TrainConfig[Any]) -> None:
    """Checks that a run can train on XLA.

    Raises:
        ConfigError: it cannot.
    """
    if config.method == "noisy_student":
        raise ConfigError("noisy_student fails on XLA: choose another method, or train on GPUs")
    if config.sharding != "none":
        raise ConfigError("weights cannot be sharded on XLA: give --sharding none, or train on GPUs")
    if config.recompute or config.accumulate > 1:
        raise ConfigError("on XLA the compiler decides what is recomputed: leave --recompute and --accumulate out")


class XlaRuntime:
    """The runtime of a step that XLA compiles as a whole; Accelerate's would cut it wherever processes communicate."""

    def __init__(self, accelerator: "Accelerator"):
        self._accelerator = accelerator

    def backward(self, loss: "Tensor") -> None:
        """See `gradebook.mpl.step.Runtime`."""
        self._accelerator.backward(loss)

    def reduce(self, tensor: "Tensor", reduction: str) -> "Tensor":
        """See `gradebook.mpl.step.Runtime`."""
        import torch_xla.core.xla_model as xm

        processes = self._accelerator.num_processes
        if processes == 1:
            return tensor
        total: Tensor = xm.all_reduce("sum", tensor, scale=1 / processes if reduction == "mean" else 1.0)
        return total


def seed(device: "torch.device", seed: int, step: int, process: int) -> None:
    """Seeds a step's draws: XLA's generator moves with every program, also with those between steps."""
    import torch_xla.core.xla_model as xm

    xm.set_rng_state(noise_seed(seed, step, process), device)


def end_step() -> None:
    """Sends the step to XLA as one program, without waiting for it."""
    import torch_xla

    torch_xla.sync()
