"""What a step of Meta Pseudo Labels would take if it were nothing but its convolutions: the bound of the rest.

    python -m benchmarks.convolutions --labelled 16 --rounds 5

The convolutions of one network at the sizes of batches that a step has, each as often as the mathematics needs it, on
one core and in half precision: with `exact` feedback and the labels of the strong view (`gradebook.mpl.methods.mpl`). A
layer's backward pass is two convolutions, one for its weights and one for its input; the first layer's input wants
none. Nothing is computed twice.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from gradebook.pipelines.studies.method_comparison import machine

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What to measure."""

    backbone: str = "wrn_28_2"
    size: int = 32
    """Pixels."""
    labelled: int = 16
    """B, labelled images a step."""
    mu: int = 7
    """Unlabelled images a labelled one."""
    rounds: int = 5
    """How often each convolution is timed; the medians count."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a step."""

    name: str
    images: int
    forward: bool = False  # convolutions of what comes in
    backward: bool = False  # those of what goes back
    shift: bool = False  # those of a shift of what comes in: the first layer's does not shift


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit status."""
    import torch
    import tyro

    from gradebook.mpl.backbones import create

    given = list(sys.argv[1:] if arguments is None else arguments)
    asked = tyro.cli(Bound, args=given, prog="convolutions.py", description=__doc__)
    torch.set_num_threads(1)
    net = create(asked.backbone, weights="random")[0].to(memory_format=torch.channels_last)
    found = [(part, *measured(net, part, asked)) for part in parts(asked.labelled, asked.mu)]
    print(f"{asked.backbone} at {asked.size} px, B = {asked.labelled}, bf16, one core\n")
    print("| part | passes of B images | seconds | GFLOP | GFLOP/s |\n| --- | --- | --- | --- | --- |")
    for part, seconds, work in found:
        print(_row(part.name, _passes(part, asked.labelled), seconds, work))
    every = [sum(column) for column in zip(*((_passes(p, asked.labelled), s, w) for p, s, w in found), strict=True)]
    print(_row("all", *every))
    print(f"\n`python -m benchmarks.convolutions {' '.join(given)}`, {date.today()}, {machine()}")
    return 0


def parts(b: int, mu: int) -> tuple[Part, ...]:
    """Returns what a step consists of, for B labelled and mu B unlabelled images."""
    u = mu * b
    return (
        Part("teacher: labels and strong views", b + u, forward=True),
        Part("teacher: weak views", u, forward=True),
        Part("student learns", u, forward=True, backward=True),
        Part("gradient of the labelled loss", b, forward=True, backward=True),
        Part("feedback product", u, forward=True, shift=True),
        Part("teacher learns", b + u, backward=True),
    )


def measured(net: "nn.Module", part: Part, asked: Bound) -> tuple[float, float]:
    """Returns the CPU-seconds of a part's convolutions, and how many GFLOP they are."""
    seconds = work = 0.0
    for place, (layer, shape) in enumerate(_layers(net, part.images, asked.size)):
        for call, operations in _calls(layer, shape, part, first=place == 0):
            seconds += _median(call, asked.rounds)
            work += operations / 1e9
    return seconds, work


def _layers(net: "nn.Module", images: int, size: int) -> "list[tuple[nn.Conv2d, tuple[int, ...]]]":
    """Returns the network's convolutions in order, each with the shape of what comes in."""
    import torch
    from torch import nn

    found: list[tuple[nn.Conv2d, tuple[int, ...]]] = []
    layers = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d)]
    hooks = [layer.register_forward_hook(lambda at, x, _: found.append((at, tuple(x[0].shape)))) for layer in layers]
    with torch.no_grad():
        net(torch.zeros(2, 3, size, size))
    for hook in hooks:
        hook.remove()
    return [(layer, (images, *shape[1:])) for layer, shape in found]


def _calls(
    layer: "nn.Conv2d", shape: tuple[int, ...], part: Part, *, first: bool
) -> "Iterator[tuple[Callable[[], object], float]]":
    """Yields each convolution of a layer in a part, and its operations."""
    import torch

    def drawn(*sizes: int) -> "Tensor":
        return torch.randn(sizes, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)

    x, weight = drawn(*shape), drawn(*layer.weight.shape)
    how = (layer.stride, layer.padding, layer.dilation)

    def forward() -> "Tensor":
        return torch.conv2d(x, weight, None, *how, layer.groups)

    y = forward()
    slope, operations = torch.randn_like(y), 2.0 * y.numel() * weight[0].numel()
    for _ in range(part.forward + (part.shift and not first)):
        yield forward, operations
    if part.backward:
        wanted = [not first, True, False]
        yield (
            lambda: torch.ops.aten.convolution_backward(
                slope, x, weight, None, *how, False, [0, 0], layer.groups, wanted
            ),
            operations * (1 if first else 2),
        )


def _median(call: "Callable[[], object]", rounds: int) -> float:
    """Returns the CPU-seconds of a call, once it has been made."""
    call()
    taken = []
    for _ in range(rounds):
        began = time.process_time()
        call()
        taken.append(time.process_time() - began)
    return statistics.median(taken)


def _passes(part: Part, b: int) -> float:
    return part.images / b * (part.forward + 2 * part.backward + part.shift)


def _row(name: str, passes: float, seconds: float, work: float) -> str:
    return f"| {name} | {passes:.0f} | {seconds:.2f} | {work:.0f} | {work / seconds:.0f} |"


if __name__ == "__main__":
    sys.exit(main())
