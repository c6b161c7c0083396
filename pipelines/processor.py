"""What a training on the processor asks of it beforehand."""

import ctypes
import sys
from contextlib import suppress

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt(3)


def reuse_memory() -> None:
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
