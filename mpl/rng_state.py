"""State of the random generator that a network draws from (dropout, stochastic depth), and its replay.

Each kind of device has its own generator. XLA's state is a number that a program carries along.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def get_rng_state(device: torch.device) -> Tensor:
    """Returns the state of a device's default random generator: bytes, on the CPU."""
    if device.type == "xla":
        import torch_xla.core.xla_model as xm

        return _bytes(xm.get_rng_state(device))
    if device.type == "mps":
        return torch.mps.get_rng_state()
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def set_rng_state(state: Tensor, device: torch.device) -> None:
    """Restores a state from `get_rng_state`."""
    if device.type == "xla":
        import torch_xla.core.xla_model as xm

        xm.set_rng_state(int.from_bytes(state.tolist(), "little"), device)
    elif device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    elif device.type == "mps":
        torch.mps.set_rng_state(state)
    else:
        torch.set_rng_state(state)


@contextmanager
def replay_rng(state: Tensor, device: torch.device) -> Iterator[None]:
    """Replays the random numbers that followed a state of `get_rng_state`; restores the present state afterwards."""
    now = get_rng_state(device)
    set_rng_state(state, device)
    try:
        yield
    finally:
        set_rng_state(now, device)


def _bytes(number: int) -> Tensor:
    return torch.tensor(list(number.to_bytes(8, "little")), dtype=torch.uint8)
