"""The random numbers that a network draws (dropout, stochastic depth): where their generator is, and the same again.

Each kind of device has a generator of its own. XLA's is a number that a program carries along.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def get_rng_state(device: torch.device) -> Tensor:
    """Returns the state of a device's default random generator: bytes, on the processor."""
    if device.type == "xla":
        import torch_xla.core.xla_model as xm

        return _bytes(xm.get_rng_state(device))
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def set_rng_state(state: Tensor, device: torch.device) -> None:
    """Puts back what `get_rng_state` returned."""
    if device.type == "xla":
        import torch_xla.core.xla_model as xm

        xm.set_rng_state(int.from_bytes(state.tolist(), "little"), device)
    elif device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


@contextmanager
def replay_rng(state: Tensor, device: torch.device) -> Iterator[None]:
    """Replays the random numbers that followed `state` (from `get_rng_state`), then goes on where it was."""
    now = get_rng_state(device)
    set_rng_state(state, device)
    try:
        yield
    finally:
        set_rng_state(now, device)


def _bytes(number: int) -> Tensor:
    return torch.tensor(list(number.to_bytes(8, "little")), dtype=torch.uint8)
