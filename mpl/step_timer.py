"""Measures the time of a step by phase. Nothing is measured until a timer is running.

    with phase("student"):
        with phase("backward"):     # counted as "student backward", and not as "student"

On a GPU the timer records events in the device's queue; only `StepTimer.seconds` waits for them.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

REST = "step"  # time outside all phases: in most methods the forward passes and the losses
MAX_MARKS = 10_000  # marks in memory before they are counted


class StepTimer:
    """Counts the seconds of each phase on a device."""

    def __init__(self, device: torch.device):
        self._cuda = device.type == "cuda"
        self._counted: Counter[str] = Counter()
        self._path: list[str] = []
        self._marks: list[tuple[str, Any]] = []  # a phase and the time of its start
        self._mark()

    @property
    def phase(self) -> str:
        """The current phase."""
        return " ".join(self._path) or REST

    def enter(self, name: str) -> None:
        """Begins a phase within the current one."""
        self._path.append(name)
        self._mark()

    def leave(self) -> None:
        """Ends the innermost phase."""
        self._path.pop()
        self._mark()

    def seconds(self) -> dict[str, float]:
        """Returns the seconds of every phase since the last call, longest first; synchronises a GPU."""
        self._mark()
        self._count()
        counted, self._counted = self._counted, Counter()
        return dict(counted.most_common())

    def _mark(self) -> None:
        stamp: Any = torch.cuda.Event(enable_timing=True) if self._cuda else time.perf_counter()
        if self._cuda:
            stamp.record()
        self._marks.append((self.phase, stamp))
        if len(self._marks) > MAX_MARKS:
            self._count()

    def _count(self) -> None:
        if self._cuda:
            torch.cuda.synchronize()
        for (phase, begin), (_, end) in pairwise(self._marks):
            self._counted[phase] += begin.elapsed_time(end) / 1000 if self._cuda else end - begin
        self._marks = self._marks[-1:]


_running: ContextVar[StepTimer | None] = ContextVar("timer", default=None)


@contextmanager
def running(timer: StepTimer) -> Iterator[None]:
    """Makes a timer count the phases of the code within."""
    before = _running.set(timer)
    try:
        yield
    finally:
        _running.reset(before)


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Counts the code within as a phase, if a timer is running."""
    timer = _running.get()
    if timer is None:
        yield
        return
    timer.enter(name)
    try:
        yield
    finally:
        timer.leave()


_counting: ContextVar[Callable[[Tensor], Tensor]] = ContextVar("counting", default=lambda tensor: tensor)


@contextmanager
def saved_bytes(timer: StepTimer) -> Iterator[Counter[str]]:
    """Counts the bytes that each phase saves for the backward pass, once for each tensor; yields the counter."""
    counted: Counter[str] = Counter()
    seen: dict[int, Tensor] = {}  # held while counting, since addresses are reused

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        weight = isinstance(tensor if tensor._base is None else tensor._base, torch.nn.Parameter)
        if not weight and storage.data_ptr() not in seen:
            seen[storage.data_ptr()] = tensor.detach()
            counted[timer.phase] += storage.nbytes()
        return tensor

    before = _counting.set(count)
    try:
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            yield counted
    finally:
        _counting.reset(before)


def count_saved(tensor: Tensor) -> Tensor:
    """Counts a tensor that is saved for the backward pass by a hook that hides it from `saved_bytes`; returns it."""
    return _counting.get()(tensor)
