"""kekmodel/MPL-pytorch: its `main`, with the settings of its README for CIFAR-10-4K, on a CPU.

Patched from outside: the device, the download of the data set, and the end of the training. Its source is not included.
"""

import os
import sys
import tempfile
from typing import Any

from benchmarks.contenders.clock import Clock, MeasurementDone, Task, parse_task, report_and_exit


class TorchOnCpu:
    """The module `torch` with every device replaced by the CPU."""

    def __init__(self, torch: Any):
        self._torch = torch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._torch, name)

    def device(self, *args: Any) -> Any:
        """Returns the CPU."""
        return self._torch.device("cpu")


class SilentWriter:
    """A TensorBoard writer that writes nothing."""

    def __init__(self, *args: Any, **kwargs: Any):
        """Accepts a writer's arguments."""

    def add_scalar(self, *args: Any) -> None:
        """Does nothing."""


def main() -> None:
    """Trains until the clock stops it."""
    import types

    import torch

    task = parse_task(sys.argv[1:])
    tensorboard: Any = types.ModuleType("torch.utils.tensorboard")
    tensorboard.SummaryWriter = SilentWriter
    sys.modules["torch.utils.tensorboard"] = tensorboard
    sys.path.insert(0, task.reference)
    os.chdir(tempfile.mkdtemp())
    clock = Clock(task)
    sys.argv = ["main.py", *_flags(task)]
    import main as theirs

    class Bar:
        """Replaces its progress bar, which is updated at the end of each step."""

        def __init__(self, *args: Any, **kwargs: Any):
            clock.mark()

        def set_description(self, text: str) -> None:
            """Does nothing."""

        def update(self) -> None:
            """Marks the end of a step."""
            clock.mark()

    theirs.torch = TorchOnCpu(torch)
    theirs.tqdm = Bar
    try:
        theirs.main()
    except MeasurementDone:
        report_and_exit(clock)


def _flags(task: Task) -> list[str]:
    readme = """--seed 5 --name cifar10 --expand-labels --dataset cifar10 --num-classes 10 --num-labeled 4000
        --total-steps 300000 --eval-step 1000 --randaug 2 16 --teacher_lr 0.05 --student_lr 0.05 --weight-decay 5e-4
        --ema 0.995 --nesterov --label-smoothing 0.15 --temperature 0.7 --threshold 0.6 --lambda-u 8
        --warmup-steps 5000 --uda-steps 5000 --student-wait-steps 3000 --teacher-dropout 0.2 --student-dropout 0.2"""
    return [*readme.split(), "--batch-size", str(task.labelled), "--mu", str(task.mu)]


if __name__ == "__main__":
    main()
