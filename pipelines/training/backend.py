"""The processes of a run and their devices: what a step asks of them, the same on CPU, GPU and XLA.

The loop asks a `Backend` and branches on no device. What differs on XLA is in `training/xla.py`, what differs with
sharded weights in `training/fsdp.py`.
"""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from gradebook.pipelines.training import fsdp, xla
from gradebook.pipelines.training.config import ConfigError, TrainConfig
from gradebook.pipelines.training.cpu_setup import prepare_process

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from torch import Tensor

    from gradebook.mpl.step import Runtime

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Backend:
    """This process of a run, its device, and the other processes."""

    accelerator: "Accelerator"
    device: "torch.device"
    process: int = 0  # rank of this process
    processes: int = 1
    hosts: Any = None  # the group in which the processes' CPUs talk; None for one process

    @property
    def is_main(self) -> bool:
        """Whether this process writes what all share."""
        return self.process == 0

    @property
    def runtime(self) -> "Runtime":
        """What a method's step needs of its host."""
        return xla.XlaRuntime(self.accelerator) if self._on_xla else self.accelerator

    def check(self, config: TrainConfig[Any]) -> None:
        """Checks that these processes and devices can train as configured.

        Raises:
            ConfigError: they cannot.
        """
        check_processes(config, self.processes)
        fsdp.check(config, self.processes)
        if self._on_xla:
            xla.check(config)

    def seed(self, seed: int, step: int) -> None:
        """Seeds what a step draws on the device, where the device does not keep its generator between steps."""
        if self._on_xla:
            xla.seed(self.device, seed, step, self.process)

    def end_step(self) -> None:
        """Ends a step, without waiting for the device."""
        if self._on_xla:
            xla.end_step()

    def mean(self, tensor: "Tensor") -> "Tensor":
        """Returns the mean of a tensor over the processes, on each of them."""
        mean: Tensor = self.accelerator.reduce(tensor, "mean")
        return mean

    def any_process(self, *flags: bool) -> list[bool]:
        """Returns for each flag whether it is set on any process. Waits for the processes, but for no device."""
        if self.hosts is None:
            return list(flags)
        import torch

        counts = torch.tensor(flags, dtype=torch.int32)
        torch.distributed.all_reduce(counts, group=self.hosts)
        return [count > 0 for count in counts.tolist()]

    def broadcast(self, value: T) -> T:
        """Returns the main process's value on every process."""
        if self.processes == 1:
            return value
        from accelerate.utils import broadcast_object_list

        received: list[T] = broadcast_object_list([value])
        return received[0]

    def gather(self, value: T) -> list[T]:
        """Returns the values of all processes, in order of their ranks, on each of them."""
        if self.hosts is None:
            return [value]
        import torch

        values: list[Any] = [None] * self.processes
        torch.distributed.all_gather_object(values, value, group=self.hosts)
        return values

    @property
    def _on_xla(self) -> bool:
        return self.device.type == "xla"


def open_backend(config: TrainConfig[Any]) -> Backend:
    """Returns the backend of this process, which `accelerate launch` may have started as one of several."""
    from accelerate import Accelerator
    from accelerate.utils import AutocastKwargs

    # autocast's cache would hold all gathered weights at once, and be out of date after a step
    autocast = AutocastKwargs(cache_enabled=config.sharding == "none")
    accelerator = Accelerator(mixed_precision=config.precision, kwargs_handlers=[autocast])
    prepare_process(accelerator.device, config.inputs)
    device, processes = accelerator.device, accelerator.num_processes
    if processes == 1:
        return Backend(accelerator, device)
    import torch

    hosts = torch.distributed.new_group(backend="gloo")
    return Backend(accelerator, device, accelerator.process_index, processes, hosts)


def check_processes(config: TrainConfig[Any], processes: int) -> None:
    """Checks that the processes work together and that the batches divide evenly among them.

    Raises:
        ConfigError: they do not.
    """
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if launched != processes:
        raise ConfigError(
            f"{launched} processes were launched, but each would train alone: "
            "where there is no GPU, set ACCELERATE_USE_CPU=true and launch again"
        )
    batches = {name: getattr(config, name) for name in ("labelled", "unlabelled", "finetune_labelled")}
    for name, batch in batches.items():
        if batch % processes:
            raise ConfigError(f"{name}={batch} does not divide by {processes} processes: choose a multiple")
