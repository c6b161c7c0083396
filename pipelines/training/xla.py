"""What is different on XLA, whose devices (TPUs) are sent each step as one program; see docs/scale.md."""

from typing import TYPE_CHECKING, Any

from gradebook.pipelines.training.config import ConfigError, TrainConfig
from gradebook.pipelines.training.sampler import noise_seed

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from torch import Tensor

    from gradebook.mpl.step import Runtime


def check(config: TrainConfig[Any], device: "torch.device") -> None:
    """Checks that a run can be done on its device; on others than XLA's it can.

    Raises:
        ConfigError: it cannot.
    """
    if device.type != "xla":
        return
    if config.method == "noisy_student":
        raise ConfigError("noisy_student was seen to fail on XLA: choose another method, or train on GPUs")
    if config.sharding != "none":
        raise ConfigError("weights are not shared out on XLA: give --sharding none, or train on GPUs")
    if config.recompute or config.accumulate > 1:
        raise ConfigError("on XLA the compiler decides what is computed again: leave --recompute and --accumulate out")


def host_of(device: "torch.device") -> "torch.device":
    """Returns the processor for one of XLA's devices, and any other device itself."""
    import torch

    return torch.device("cpu") if device.type == "xla" else device


def runtime(accelerator: "Accelerator") -> "Runtime":
    """Returns what a step asks of its host: the accelerator, on XLA in a form that leaves a step in one piece."""
    return Whole(accelerator) if accelerator.device.type == "xla" else accelerator


class Whole:
    """The runtime of a step that XLA compiles as a whole: Accelerate would cut it in two wherever processes meet."""

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
    """Seeds what a step draws on XLA, whose generator moves with every program, those between steps included."""
    if device.type == "xla":
        import torch_xla.core.xla_model as xm

        xm.set_rng_state(noise_seed(seed, step, process), device)


def send(device: "torch.device") -> None:
    """Ends a step: sends XLA the program that the step was, and does not wait for it. Elsewhere nothing happens."""
    if device.type == "xla":
        import torch_xla

        torch_xla.sync()
