"""What a training on the processor asks of it beforehand."""

import ctypes
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt(3)


def prepare_process(device: "torch.device", inputs: str) -> None:
    """Makes a process ready to train on the processor; on another device it does nothing.

    Args:
        device: that the training runs on.
        inputs: of its settings, views or pixels.
    """
    if device.type != "cpu":
        return
    _reuse_memory()
    if inputs == "views":
        import torch

        torch.set_num_threads(1)  # layers this small lose more to waiting for each other than they gain


def _reuse_memory() -> None:
    """Has the C library keep the memory that a step's tensors leave, for those of the next step.

    Left alone it gives large tensors' pages back to the system at once and has them cleared when it asks for them anew,
    up to a fifth of a step's time. Where the C library is not glibc, nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_THRESHOLD, 2**30)
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
