"""The clock that every side is read by, and the images that every side learns from."""

import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psutil

IMAGES = 10_000  # training images of the stand-in for CIFAR-10
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a side is to do."""

    method: str  # mpl, uda or fixmatch
    labelled: int  # B
    mu: int  # unlabelled images a labelled one
    steps: int  # that count
    warmup: int  # before them
    cores: int
    reference: str = ""  # a checkout of the other's source
    precision: str = "no"  # ours alone: no or bf16
    feedback: str = "exact"  # ours alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the clock read: medians over the steps that count."""

    cpu: float  # CPU-seconds a step, of the process and its workers
    wall: float  # seconds a step
    base: int  # bytes of the process before the first step
    peak: int  # the most it ever had


class Over(BaseException):
    """Ends a training whose steps have been counted; no Exception, so that nothing takes it for an error."""


class Clock:
    """Reads CPU and wall time at every step's end, and ends the training after the last step that counts."""

    def __init__(self, task: Task):
        self._task = task
        self._process = psutil.Process()
        self._marks: list[tuple[float, float]] = []
        self._base = 0

    def mark(self) -> None:
        """Call once before the first step and at the end of each.

        Raises:
            Over: that was the last step that counts.
        """
        if not self._marks:
            self._base = self._process.memory_info().rss
        self._marks.append((self._cpu(), time.perf_counter()))
        if len(self._marks) > self._task.warmup + self._task.steps:
            raise Over

    def reading(self) -> Reading:
        """Returns what was read."""
        counted = self._marks[self._task.warmup :]
        cpu, wall = (statistics.median(b[k] - a[k] for a, b in pairwise(counted)) for k in (0, 1))
        return Reading(cpu=cpu, wall=wall, base=self._base, peak=_high_water())

    def _cpu(self) -> float:
        """Returns the CPU-seconds of this process and of the workers that it has now."""
        times = [p.cpu_times() for p in (self._process, *self._process.children(recursive=True))]
        return sum(t.user + t.system for t in times)


class Cifar10:
    """Stands in for `torchvision.datasets.CIFAR10`: smooth random pictures, the same for every side."""

    def __init__(
        self,
        root: str = "",
        train: bool = True,
        transform: Any = None,
        target_transform: Any = None,
        download: bool = False,
    ):
        self.transform, self.target_transform = transform, target_transform
        random = np.random.default_rng(int(train))
        count = IMAGES if train else 100
        rough = random.integers(0, 256, (count, 8, 8, 3), np.uint8)
        self.data = rough.repeat(4, axis=1).repeat(4, axis=2)
        self.targets = [int(k) for k in np.arange(count) % len(CLASSES)]
        self.classes = list(CLASSES)

    def __len__(self) -> int:
        return len(self.data)


def task_of(arguments: Sequence[str]) -> Task:
    """Returns the task that a side's command line tells, in the surroundings it is measured in."""
    import torch
    import torchvision

    task = Task(**json.loads(arguments[0]))
    torch.set_num_threads(task.cores)
    torchvision.datasets.CIFAR10 = Cifar10
    return task


def tell(clock: Clock) -> None:
    """Prints the reading as the last line; ends the process at once, workers and all."""
    workers = psutil.Process().children(recursive=True)
    print(json.dumps(asdict(clock.reading())), flush=True)
    for worker in workers:
        worker.kill()
    sys.stdout.flush()
    os._exit(0)


def _high_water() -> int:
    """Returns the most bytes of memory that this program has had (its parent's from before it began left out)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
