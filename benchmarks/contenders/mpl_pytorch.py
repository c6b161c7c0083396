"""kekmodel/MPL-pytorch: its `main`, with the settings of its README for CIFAR-10-4K, on a CPU.

Changed from outside: the device, the data set's download, and where it ends. Its source is not part of this project.
"""

import os
import sys
import tempfile
from typing import Any

from benchmarks.contenders.clock import Clock, Over, Task, task_of, tell


class OnTheProcessor:
    """The module `torch` as its `main` sees it: every device is the processor."""

    def __init__(self, torch: Any):
        self._torch = torch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._torch, name)

    def device(self, *asked: Any) -> Any:
        """Returns the processor."""
        return self._torch.device("cpu")


class SilentWriter:
    """A TensorBoard writer that writes nothing."""

    def __init__(self, *given: Any, **more: Any):
        """Takes what a writer takes."""

    def add_scalar(self, *given: Any) -> None:
        """Forgets it."""


def main() -> None:
    """Trains until the clock stops it."""
    import types

    import torch

    task = task_of(sys.argv[1:])
    board: Any = types.ModuleType("torch.utils.tensorboard")
    board.SummaryWriter = SilentWriter
    sys.modules["torch.utils.tensorboard"] = board
    sys.path.insert(0, task.reference)
    os.chdir(tempfile.mkdtemp())
    clock = Clock(task)
    sys.argv = ["main.py", *_flags(task)]
    import main as theirs

    class Bar:
        """Its progress bar, which moves at the end of each step."""

        def __init__(self, *given: Any, **more: Any):
            clock.mark()

        def set_description(self, text: str) -> None:
            """Forgets it."""

        def update(self) -> None:
            """Tells the clock."""
            clock.mark()

    theirs.torch = OnTheProcessor(torch)
    theirs.tqdm = Bar
    try:
        theirs.main()
    except Over:
        tell(clock)


def _flags(task: Task) -> list[str]:
    readme = """--seed 5 --name cifar10 --expand-labels --dataset cifar10 --num-classes 10 --num-labeled 4000
        --total-steps 300000 --eval-step 1000 --randaug 2 16 --teacher_lr 0.05 --student_lr 0.05 --weight-decay 5e-4
        --ema 0.995 --nesterov --label-smoothing 0.15 --temperature 0.7 --threshold 0.6 --lambda-u 8
        --warmup-steps 5000 --uda-steps 5000 --student-wait-steps 3000 --teacher-dropout 0.2 --student-dropout 0.2"""
    return [*readme.split(), "--batch-size", str(task.labelled), "--mu", str(task.mu)]


if __name__ == "__main__":
    main()
