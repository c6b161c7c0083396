"""The cost of a network, measured on torch's meta device, which has shapes but neither values nor memory.

Every figure is in bytes, elements or floating-point operations (a multiplication and an addition count as two).
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from math import ceil, prod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

Shapes = tuple[tuple[int, ...], ...]

WEIGHT = 4  # bytes: weights are stored, gathered and averaged in float32
SMALL_BATCH, LARGE_BATCH = 2, 3  # images of two passes, whose difference is the cost of one image


@dataclass(frozen=True, slots=True, kw_only=True)
class Activations:
    """The activations that a forward pass saves for the backward pass, in bytes."""

    per_image: int
    per_pass: int  # independent of the number of images: half-precision weights, BatchNorm's statistics


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkCost:
    """The cost of one network."""

    parameters: int
    buffers: int  # bytes; not sharded
    blocks: tuple[Shapes, ...]  # the parameters' shapes of each block
    rest: Shapes  # shapes of the parameters outside blocks
    activations: Activations
    largest_block: int  # bytes per image that a forward pass saves in the largest block
    forward: int  # operations per image of a forward pass; a backward pass takes twice as many

    def shard(self, devices: int) -> int:
        """Returns the number of weights that each device holds, including padding."""
        return sum(shard_of(shapes, devices) for shapes in (*self.blocks, self.rest))

    def gathered(self, devices: int) -> int:
        """Returns the number of weights gathered at once: those outside blocks, of a block, and of the next block."""
        largest = max((shard_of(shapes, devices) for shapes in self.blocks), default=0)
        return devices * (shard_of(self.rest, devices) + min(2, len(self.blocks)) * largest)


def shard_of(shapes: Shapes, devices: int) -> int:
    """Returns the elements that a device holds of parameters with these shapes, sharded along the first dimension."""
    return sum(ceil(shape[0] / devices) * prod(shape[1:]) for shape in shapes)


def measure(net: "nn.Module", size: int, *, half: bool, recompute: bool) -> NetworkCost:
    """Measures a network on the meta device.

    Args:
        net: on the meta device; takes uint8 images (N, 3, size, size). `recompute` changes it in place.
        size: height and width of the images, in pixels.
        half: matrix products and convolutions in bfloat16.
        recompute: recompute activations, so that a block saves only its input (`gradebook.mpl.sharding.recompute`).
    """
    from gradebook.mpl import sharding

    blocks, rest = parts(net)
    forward = _operations(net, size)
    of_block = _saved_activations(net, size, half=half, images=SMALL_BATCH).of_block
    if recompute:
        sharding.recompute(net)
    small, large = (
        _saved_activations(net, size, half=half, images=n, inputs=recompute).total() for n in (SMALL_BATCH, LARGE_BATCH)
    )
    per_image = (large - small) // (LARGE_BATCH - SMALL_BATCH)
    return NetworkCost(
        parameters=sum(p.numel() for p in net.parameters()),
        buffers=sum(b.numel() * b.element_size() for b in net.buffers()),
        blocks=blocks,
        rest=rest,
        activations=Activations(per_image=per_image, per_pass=small - SMALL_BATCH * per_image),
        largest_block=max(of_block.values(), default=0) // SMALL_BATCH,
        forward=forward,
    )


def parts(net: "nn.Module") -> tuple[tuple[Shapes, ...], Shapes]:
    """Returns the shapes of each block's parameters, and of those outside blocks."""
    from gradebook.mpl import sharding

    blocks = sharding.blocks(net)
    inside = {id(p) for block in blocks for p in block.parameters()}
    return (
        tuple(tuple(tuple(p.shape) for p in block.parameters()) for block in blocks),
        tuple(tuple(p.shape) for p in net.parameters() if id(p) not in inside),
    )


@dataclass(slots=True)
class _ActivationLog:
    """The memory that a forward pass saves; each storage counts once, for the block that saved it first."""

    existing: "set[int]"  # storages of weights, buffers and images
    storages: "dict[int, Any]" = field(default_factory=dict)
    of_block: dict[int, int] = field(default_factory=dict)
    block: int = -1  # the current one; -1 for none

    def add(self, tensor: "Tensor") -> "Tensor":
        storage = tensor.untyped_storage()
        if storage._cdata not in self.existing and storage._cdata not in self.storages:
            self.storages[storage._cdata] = storage  # the reference prevents another storage from getting its address
            self.of_block[self.block] = self.of_block.get(self.block, 0) + storage.nbytes()
        return tensor

    def total(self) -> int:
        return sum(storage.nbytes() for storage in self.storages.values())


def _saved_activations(net: "nn.Module", size: int, *, half: bool, images: int, inputs: bool = False) -> _ActivationLog:
    """Runs a forward pass and logs what it saves; with `inputs` also the inputs of each block."""
    import torch

    from gradebook.mpl import sharding

    batch = _images(images, size)
    existing = [*net.parameters(), *net.buffers(), batch]
    saved = _ActivationLog({t.untyped_storage()._cdata for t in existing})
    hooks = []
    for number, block in enumerate(sharding.blocks(net)):
        hooks += [
            block.register_forward_pre_hook(partial(_enter, saved, number, inputs)),
            block.register_forward_hook(partial(_leave, saved)),
        ]
    with _half_precision(half), torch.autograd.graph.saved_tensors_hooks(saved.add, _unchanged):
        logits = net.train()(batch)
        logits.float().log_softmax(-1)
    for hook in hooks:
        hook.remove()
    saved.of_block.pop(-1, None)
    return saved


def _enter(
    saved: _ActivationLog, number: int, inputs: bool, block: "nn.Module", arguments: "tuple[Tensor, ...]"
) -> None:
    if inputs:
        for tensor in arguments:
            saved.add(tensor)
    saved.block = number


def _leave(saved: _ActivationLog, *ignored: Any) -> None:
    saved.block = -1


def _unchanged(tensor: "Tensor") -> "Tensor":
    return tensor


def _operations(net: "nn.Module", size: int) -> int:
    """Returns the operations per image of a forward pass.

    A backward pass is assumed to take twice as many, since each product is differentiated by both of its factors.
    torch's own count of a backward pass treats grouped convolutions as ungrouped: 26 times too many for
    EfficientNet-L2.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net.train()(_images(SMALL_BATCH, size))
    return int(counter.get_total_flops()) // SMALL_BATCH


def _images(number: int, size: int) -> "Tensor":
    import torch

    return torch.empty(number, 3, size, size, dtype=torch.uint8, device="meta")


def _half_precision(half: bool) -> AbstractContextManager[Any]:
    """Computes matrix products and convolutions in bfloat16, like autocast, which does not support the meta device."""
    import torch
    from torch.overrides import TorchFunctionMode

    class Half(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func in halved:
                args = [_halved(a) for a in args]
                kwargs = {name: _halved(a) for name, a in (kwargs or {}).items()}
            return func(*args, **(kwargs or {}))

    functional = torch.nn.functional
    halved = {
        *(torch.conv1d, torch.conv2d, torch.matmul, torch.bmm, functional.linear),
        *(torch.Tensor.matmul, torch.Tensor.__matmul__, functional.scaled_dot_product_attention),
    }
    return Half() if half else nullcontext()


def _halved(value: Any) -> Any:
    import torch

    is_single = isinstance(value, torch.Tensor) and value.dtype == torch.float32
    return value.to(torch.bfloat16) if is_single else value
