"""The clock that measures every contender, and the images that every contender trains on."""

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
    """The task of a contender."""

    method: str  # mpl, uda or fixmatch
    labelled: int  # B
    mu: int  # unlabelled images per labelled image
    steps: int  # measured
    warmup: int  # steps before the measured ones
    cores: int
    reference: str = ""  # a checkout of the other program
    precision: str = "no"  # no or bf16; only for Gradebook
    feedback: str = "exact"  # only for Gradebook


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The measurement: medians over the measured steps."""

    cpu: float  # CPU-seconds per step, of the process and its workers
    wall: float  # seconds per step
    base: int  # bytes of memory before the first step
    peak: int  # peak bytes of memory


class MeasurementDone(BaseException):
    """Ends a training after the last measured step. Not an `Exception`, so that no program handles it as an error."""


class Clock:
    """Measures CPU and wall time at the end of each step, and ends the training after the last measured step."""

    def __init__(self, task: Task):
        self._task = task
        self._process = psutil.Process()
        self._marks: list[tuple[float, float]] = []
        self._base = 0

    def mark(self) -> None:
        """Call once before the first step and at the end of each step.

        Raises:
            MeasurementDone: that was the last measured step.
        """
        if not self._marks:
            self._base = self._process.memory_info().rss
        self._marks.append((self._cpu(), time.perf_counter()))
        if len(self._marks) > self._task.warmup + self._task.steps:
            raise MeasurementDone

    def reading(self) -> Reading:
        """Returns the measurement."""
        counted = self._marks[self._task.warmup :]
        cpu, wall = (statistics.median(b[k] - a[k] for a, b in pairwise(counted)) for k in (0, 1))
        return Reading(cpu=cpu, wall=wall, base=self._base, peak=_peak_memory())

    def _cpu(self) -> float:
        """Returns the CPU-seconds of this process and of its present workers."""
        times = [p.cpu_times() for p in (self._process, *self._process.children(recursive=True))]
        return sum(t.user + t.system for t in times)


class Cifar10:
    """Stands in for `torchvision.datasets.CIFAR10`: random coarse images, the same for every contender."""

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


def parse_task(arguments: Sequence[str]) -> Task:
    """Returns the task from a contender's command line, after setting up threads and the stand-in for CIFAR-10."""
    import torch
    import torchvision

    task = Task(**json.loads(arguments[0]))
    torch.set_num_threads(task.cores)
    torchvision.datasets.CIFAR10 = Cifar10
    return task


def report_and_exit(clock: Clock) -> None:
    """Prints the measurement as the last line, and ends the process and its workers at once."""
    workers = psutil.Process().children(recursive=True)
    print(json.dumps(asdict(clock.reading())), flush=True)
    for worker in workers:
        worker.kill()
    sys.stdout.flush()
    os._exit(0)


def _peak_memory() -> int:
    """Returns the peak memory of this program in bytes, which `getrusage` would mix with its parent's."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
