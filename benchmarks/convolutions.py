"""Measures the convolutions of a step of Meta Pseudo Labels: a lower bound of the step's time.

    python -m benchmarks.convolutions --labelled 16 --rounds 5

Each convolution of the network is timed at the batch sizes of a step, as often as the algorithm needs it, on one core
and in half precision: with `exact` feedback and pseudo-labels of the strong view (`gradebook.mpl.methods.mpl`). The
backward pass of a layer is two convolutions, one for its weights and one for its input, which the first layer does not
need. Nothing is computed twice.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradebook.pipelines.studies.command_line import footer

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """Options of the benchmark."""

    backbone: str = "wrn_28_2"
    """timm's name of the network."""
    size: int = 32
    """Height and width of the images, in pixels."""
    labelled: int = 16
    """B, labelled images per step."""
    mu: int = 7
    """Unlabelled images per labelled image."""
    rounds: int = 5
    """Repeats of each convolution, of which the median counts."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a step."""

    name: str
    images: int
    forward: bool = False  # whether it has the convolutions of a forward pass
    backward: bool = False  # whether it has those of a backward pass
    shift: bool = False  # whether it has those of the input's tangent, which is zero for the first layer


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit status."""
    import torch
    import tyro

    from gradebook.mpl.backbones import create

    given = list(sys.argv[1:] if arguments is None else arguments)
    options = tyro.cli(Bound, args=given, prog="python -m benchmarks.convolutions", description=__doc__)
    torch.set_num_threads(1)
    net = create(options.backbone, weights="random")[0].to(memory_format=torch.channels_last)
    rows = [(part, *measured(net, part, options)) for part in parts(options.labelled, options.mu)]
    print(f"{options.backbone} at {options.size} px, B = {options.labelled}, bf16, one core\n")
    print("| part | passes of B images | seconds | GFLOP | GFLOP/s |\n| --- | --- | --- | --- | --- |")
    for part, seconds, work in rows:
        print(_row(part.name, _passes(part, options.labelled), seconds, work))
    totals = [sum(column) for column in zip(*((_passes(p, options.labelled), s, w) for p, s, w in rows), strict=True)]
    print(_row("all", *totals))
    print(f"\n{footer('-m benchmarks.convolutions', given)}")
    return 0


def parts(b: int, mu: int) -> tuple[Part, ...]:
    """Returns the parts of a step with B labelled and mu B unlabelled images."""
    u = mu * b
    return (
        Part("teacher: labels and strong views", b + u, forward=True),
        Part("teacher: weak views", u, forward=True),
        Part("student's step", u, forward=True, backward=True),
        Part("gradient of the labelled loss", b, forward=True, backward=True),
        Part("feedback product", u, forward=True, shift=True),
        Part("teacher's step", b + u, backward=True),
    )


def measured(net: "nn.Module", part: Part, options: Bound) -> tuple[float, float]:
    """Returns the CPU-seconds and the GFLOP of a part's convolutions."""
    seconds = work = 0.0
    for number, (layer, shape) in enumerate(_layers(net, part.images, options.size)):
        for call, operations in _calls(layer, shape, part, first=number == 0):
            seconds += _median(call, options.rounds)
            work += operations / 1e9
    return seconds, work


def _layers(net: "nn.Module", images: int, size: int) -> "list[tuple[nn.Conv2d, tuple[int, ...]]]":
    """Returns the network's convolutions in order, each with the shape of its input."""
    import torch
    from torch import nn

    inputs: list[tuple[nn.Conv2d, tuple[int, ...]]] = []
    layers = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d)]
    hooks = [layer.register_forward_hook(lambda at, x, _: inputs.append((at, tuple(x[0].shape)))) for layer in layers]
    with torch.no_grad():
        net(torch.zeros(2, 3, size, size))
    for hook in hooks:
        hook.remove()
    return [(layer, (images, *shape[1:])) for layer, shape in inputs]


def _calls(
    layer: "nn.Conv2d", shape: tuple[int, ...], part: Part, *, first: bool
) -> "Iterator[tuple[Callable[[], object], float]]":
    """Yields each convolution of a layer in a part, with its floating-point operations."""
    import torch

    def random_tensor(*sizes: int) -> "Tensor":
        return torch.randn(sizes, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)

    x, weight = random_tensor(*shape), random_tensor(*layer.weight.shape)
    geometry = (layer.stride, layer.padding, layer.dilation)

    def forward() -> "Tensor":
        return torch.conv2d(x, weight, None, *geometry, layer.groups)

    y = forward()
    slope, operations = torch.randn_like(y), 2.0 * y.numel() * weight[0].numel()
    for _ in range(part.forward + (part.shift and not first)):
        yield forward, operations
    if part.backward:
        wanted = [not first, True, False]
        yield (
            lambda: torch.ops.aten.convolution_backward(
                slope, x, weight, None, *geometry, False, [0, 0], layer.groups, wanted
            ),
            operations * (1 if first else 2),
        )


def _median(call: "Callable[[], object]", rounds: int) -> float:
    """Returns the median CPU-seconds of a call after a warm-up."""
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
