"""Settings of the process for training on a CPU."""

import ctypes
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt(3)


def prepare_process(device: "torch.device", inputs: str) -> None:
    """Prepares this process for training on a CPU; on another device it does nothing.

    Args:
        device: that the run trains on.
        inputs: of its config, views or pixels.
    """
    if device.type != "cpu":
        return
    _reuse_memory()
    if inputs == "views":
        import torch

        torch.set_num_threads(1)  # with layers this small, threads lose more by waiting than they gain


def _reuse_memory() -> None:
    """Makes glibc keep the memory that a step's tensors free, for the tensors of the next step.

    By default it returns the pages of large tensors to the system at once and asks for cleared ones again, which takes
    up to a fifth of a step's time. With another C library this does nothing.
    """
    if not sys.platform.startswith("linux"):
        return
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_THRESHOLD, 2**30)
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
