"""What a network takes, found by running its passes on torch's meta device: real shapes, no numbers and no memory.

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

WEIGHT = 4  # bytes of a weight: they are kept, gathered and averaged in float32
FEW, MORE = 2, 3  # images in the two passes whose difference is what one image takes


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What a forward pass keeps for the backward pass."""

    an_image: int  # bytes, for each image
    a_pass: int  # bytes, whatever the number of images: half-precision copies of weights, BatchNorm's statistics


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One network."""

    parameters: int
    buffers: int  # bytes; every device has them whole
    blocks: tuple[Shapes, ...]  # of each block, its parameters' shapes
    rest: Shapes  # shapes of the parameters outside blocks
    kept: Kept
    largest_block: int  # bytes that the forward pass of one block keeps an image, of the block that keeps most
    forward: int  # operations of a forward pass, for each image; a backward pass takes twice as many

    def shard(self, devices: int) -> int:
        """Returns how many elements of the weights each of so many devices holds, padding included."""
        return sum(shard_of(shapes, devices) for shapes in (*self.blocks, self.rest))

    def gathered(self, devices: int) -> int:
        """Returns how many elements are whole at once in a pass: what is in no block, and a block and the next one."""
        largest = max((shard_of(shapes, devices) for shapes in self.blocks), default=0)
        return devices * (shard_of(self.rest, devices) + min(2, len(self.blocks)) * largest)


def shard_of(shapes: Shapes, devices: int) -> int:
    """Returns how many elements of weights of these shapes a device holds: each is cut along its first dimension."""
    return sum(ceil(shape[0] / devices) * prod(shape[1:]) for shape in shapes)


def measure(net: "nn.Module", size: int, *, half: bool, recompute: bool) -> Measured:
    """Runs a network on the meta device.

    Args:
        net: takes images uint8 (N, 3, size, size); on the meta device. With `recompute` it is changed in place.
        size: pixels a side.
        half: whether matrix products and convolutions are done in bfloat16.
        recompute: whether blocks keep their input alone (`gradebook.mpl.sharding.recompute`).
    """
    from gradebook.mpl import sharding

    blocks, rest = parts(net)
    forward = _operations(net, size)
    largest = max(_kept(net, size, half=half, images=FEW).of_block.values(), default=0) // FEW
    if recompute:
        sharding.recompute(net)
    few, more = (_kept(net, size, half=half, images=n, inputs=recompute).total() for n in (FEW, MORE))
    an_image = (more - few) // (MORE - FEW)
    return Measured(
        parameters=sum(p.numel() for p in net.parameters()),
        buffers=sum(b.numel() * b.element_size() for b in net.buffers()),
        blocks=blocks,
        rest=rest,
        kept=Kept(an_image=an_image, a_pass=few - FEW * an_image),
        largest_block=largest,
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
class _Ledger:
    """The memory that a forward pass keeps: each storage once, under the block that kept it first."""

    known: "set[int]"  # storages that are there anyway: weights, buffers, images
    storages: "dict[int, Any]" = field(default_factory=dict)
    of_block: dict[int, int] = field(default_factory=dict)
    block: int = -1  # the one that computes now; -1 for none

    def note(self, tensor: "Tensor") -> "Tensor":
        storage = tensor.untyped_storage()
        if storage._cdata not in self.known and storage._cdata not in self.storages:
            self.storages[storage._cdata] = storage  # kept, or another storage would get its name
            self.of_block[self.block] = self.of_block.get(self.block, 0) + storage.nbytes()
        return tensor

    def total(self) -> int:
        return sum(storage.nbytes() for storage in self.storages.values())


def _kept(net: "nn.Module", size: int, *, half: bool, images: int, inputs: bool = False) -> _Ledger:
    """Does a forward pass and notes what it keeps; with `inputs` also what is handed to each block."""
    import torch

    from gradebook.mpl import sharding

    batch = _images(images, size)
    there = [*net.parameters(), *net.buffers(), batch]
    ledger = _Ledger({t.untyped_storage()._cdata for t in there})
    hooks = []
    for number, block in enumerate(sharding.blocks(net)):
        hooks += [
            block.register_forward_pre_hook(partial(_enter, ledger, number, inputs)),
            block.register_forward_hook(partial(_leave, ledger)),
        ]
    with _half_precision(half), torch.autograd.graph.saved_tensors_hooks(ledger.note, _give_back):
        logits = net.train()(batch)
        logits.float().log_softmax(-1)
    for hook in hooks:
        hook.remove()
    ledger.of_block.pop(-1, None)
    return ledger


def _enter(ledger: _Ledger, number: int, inputs: bool, block: "nn.Module", arguments: "tuple[Tensor, ...]") -> None:
    if inputs:
        for tensor in arguments:
            ledger.note(tensor)
    ledger.block = number


def _leave(ledger: _Ledger, *ignored: Any) -> None:
    ledger.block = -1


def _give_back(tensor: "Tensor") -> "Tensor":
    return tensor


def _operations(net: "nn.Module", size: int) -> int:
    """Returns the operations of a forward pass, for each image.

    Of a backward pass torch counts a grouped convolution as if it had one group, 26 times too much in an
    EfficientNet-L2; each product is differentiated by both its factors, so twice the forward pass is taken instead.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net.train()(_images(FEW, size))
    return int(counter.get_total_flops()) // FEW


def _images(number: int, size: int) -> "Tensor":
    import torch

    return torch.empty(number, 3, size, size, dtype=torch.uint8, device="meta")


def _half_precision(half: bool) -> AbstractContextManager[Any]:
    """Does what autocast does, which the meta device does not know: products and convolutions in bfloat16."""
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
