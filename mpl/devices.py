"""The device to compute on: a GPU of Nvidia or AMD, else that of an Apple machine (MPS), else the CPU."""

import torch


def best_device() -> torch.device:
    """Returns the fastest kind of device that torch can use here."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
