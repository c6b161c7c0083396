"""Recomputes cheap activations in the backward pass: half of the memory, the same numbers to the bit.

Of a convolution, its norm and its activation function, autograd saves two maps: the convolution's output, for the
norm's derivative, and the activation's output, for the next convolution's. The second follows from the first by a few
operations an element, where the convolution takes hundreds, so only the first is saved. Sums of known maps are
recomputed as well. (In-place activated BatchNorm, Rota Bulò et al., 2018, https://arxiv.org/abs/1712.02616, inverts the
second map instead, for invertible activations.)
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from inspect import signature
from typing import Any

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode

from gradebook.mpl import step_timer
from gradebook.mpl.forward_mode import ConvolutionCache
from gradebook.mpl.sharding import blocks, is_sharded, recomputed

IN_PLACE = (nnf.relu, nnf.leaky_relu)  # their derivative needs only their result, so they may work in place
ACTIVATIONS = (*IN_PLACE, nnf.hardtanh, nnf.silu, nnf.hardswish, nnf.gelu)
SUMS = (torch.add, torch.Tensor.add)
MAX_OPERATIONS = 6  # that are worth recomputing: a norm, its activation and the sums of four blocks before it

Layout = tuple[tuple[int, ...], tuple[int, ...], int]  # shape, strides, storage offset


@contextmanager
def recompute_activations(
    net: nn.Module, convolutions: ConvolutionCache | None = None, *, recompute_first_blocks: bool = False
) -> Iterator[None]:
    """Makes forward passes of a convolutional network within the block save less for the backward pass.

    Networks that already recompute blocks, have sharded weights or are on XLA are left alone.

    Args:
        net: its weights and buffers must not change between the forward and the backward pass.
        convolutions: gets the outputs of the convolutions, unless nothing changes.
        recompute_first_blocks: whether the first third of the blocks save only their inputs. They have the largest
            maps: in WRN-28-2 four sevenths of what is left, for a third of a forward pass more.
    """
    parts = blocks(net)
    if not _is_supported(net, parts):
        yield
        return
    mode = _RecomputeMode(convolutions)
    first = parts[: len(parts) // 3] if recompute_first_blocks else []
    for block in first:
        block.forward = partial(mode.paused, partial(recomputed, block, block.forward))
    try:
        with saved_tensors_hooks(mode.pack, _unpack), mode:
            yield
    finally:
        mode.clear()
        for block in first:
            del block.forward


class _Recipe:
    """How to recompute a tensor. It caches the value from the first to the last use in a backward pass."""

    def __init__(self, call: Callable[..., Tensor], *sources: "Tensor | _Recipe"):
        self._call = call
        self._sources = [s if isinstance(s, _Recipe) else (s.detach(), s._version) for s in sources]
        self._uses = 0
        self._value: Tensor | None = None
        self.operations: int = 1 + sum(s.operations for s in sources if isinstance(s, _Recipe))

    def reserved(self) -> "_Recipe":
        """Counts one more use to come."""
        self._uses += 1
        return self

    def use(self) -> Tensor:
        """Returns the tensor for one of the uses that were counted."""
        with torch.no_grad():
            value = self.value()
        self._uses -= 1
        self._value = value if self._uses > 0 else None
        return value

    def value(self) -> Tensor:
        """Returns the tensor without caching it: as the source of another tensor it would stay in memory too long."""
        return self._call(*map(_source_value, self._sources)) if self._value is None else self._value


class _KnownTensors:
    """Saved tensors, and recipes for tensors that follow from them, by storage and version."""

    def __init__(self) -> None:
        self._entries: dict[tuple[int, int], tuple[Tensor | _Recipe, Layout, StorageWeakRef]] = {}

    def add(self, tensor: Tensor, known: "Tensor | _Recipe", *, version: int | None = None) -> None:
        """Records that `tensor`, at its present version or the one given, is saved or can be recomputed."""
        # A weak reference does not keep the memory, but prevents another storage from getting the same id.
        storage = tensor.untyped_storage()
        key = storage._cdata, tensor._version if version is None else version
        self._entries[key] = known, _layout(tensor), StorageWeakRef(storage)

    def get(self, tensor: Tensor) -> "Tensor | _Recipe | None":
        """Returns what is recorded for this tensor; None for another view of the same storage."""
        known, layout, _ = self._entries.get((tensor.untyped_storage()._cdata, tensor._version), (None, None, None))
        return known if layout == _layout(tensor) else None

    def recipe(self, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> _Recipe | None:
        """Returns how to recompute the result of a call from known tensors, None if it takes too many operations."""
        recipe, rest = None, args[1:]  # a recipe must not hold args[0]
        if func is nnf.batch_norm:
            source = self.get(args[0])
            recipe = _Recipe(_norm(*rest, **kwargs), args[0] if source is None else source)
        elif func in ACTIVATIONS and isinstance(norm := self.get(args[0]), _Recipe):
            recipe = _Recipe(lambda x: func(x, *rest, **kwargs), norm)
        elif func in SUMS and not kwargs and all(isinstance(term, Tensor) for term in args):
            terms = [known for term in args if (known := self.get(term)) is not None]
            recipe = _Recipe(torch.add, *terms) if len(terms) == 2 else None
        return recipe if recipe is not None and recipe.operations <= MAX_OPERATIONS else None

    def clear(self) -> None:
        """Releases all tensors."""
        self._entries.clear()


class _RecomputeMode(TorchFunctionMode):
    """While active, records how results can be recomputed, so that `pack` saves a recipe in place of a tensor."""

    def __init__(self, convolutions: ConvolutionCache | None):
        super().__init__()
        self._convolutions = convolutions
        self._is_paused = False
        self._known = _KnownTensors()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Calls the function and records how to recompute its result."""
        kwargs = dict(kwargs or {})
        if self._is_paused or not args:
            return func(*args, **kwargs)
        if func in ACTIVATIONS and func not in IN_PLACE and self._known.get(args[0]) is not None:
            args, kwargs = _out_of_place(func, args, kwargs)  # in place it would save a copy of its input
        recipe = self._known.recipe(func, args, kwargs) if torch.is_grad_enabled() else None
        if recipe is not None and func in IN_PLACE:  # in place, the result is saved during the call
            self._known.add(args[0], recipe, version=args[0]._version + 1)
        out = func(*args, **kwargs)
        if recipe is not None:
            self._known.add(out, recipe)
        if func is torch.conv2d and self._convolutions is not None:
            self._known.add(out, step_timer.count_saved(self._convolutions.add(out)))
        return out

    def pack(self, tensor: Tensor) -> "Tensor | _Recipe":
        """Returns what to save of a tensor that the backward pass needs."""
        known = self._known.get(tensor)
        if isinstance(known, _Recipe):
            return known.reserved()
        self._known.add(tensor, tensor.detach())
        return step_timer.count_saved(tensor)

    def paused(self, call: Callable[..., Any], *inputs: Any) -> Any:
        """Returns call(*inputs), of which nothing is recorded."""
        self._is_paused = True
        try:
            return call(*inputs)
        finally:
            self._is_paused = False

    def clear(self) -> None:
        """Releases all tensors: the graph holds the hooks, and so this, until its last tensor is used."""
        self._known.clear()


def _is_supported(net: nn.Module, parts: Sequence[nn.Module]) -> bool:
    """Returns whether a network has convolutions, whole weights and no recomputation of its own.

    XLA compiles a step as a whole, and decides by itself what to recompute.
    """
    if any(weight.device.type == "xla" for weight in net.parameters()):
        return False
    changed = any("forward" in vars(module) for module in (net, *parts)) or is_sharded(net)
    return not changed and any(isinstance(module, nn.Conv2d) for module in net.modules())


def _unpack(saved: Tensor | _Recipe) -> Tensor:
    return saved.use() if isinstance(saved, _Recipe) else saved


def _source_value(source: _Recipe | tuple[Tensor, int]) -> Tensor:
    if isinstance(source, _Recipe):
        return source.value()
    tensor, version = source
    assert tensor._version == version, "a tensor that is needed for recomputation was changed in place"
    return tensor


def _layout(tensor: Tensor) -> Layout:
    return tuple(tensor.shape), tensor.stride(), int(tensor.storage_offset())


def _out_of_place(
    func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Sequence[Any], dict[str, Any]]:
    """Returns the arguments with which an activation function leaves its input unchanged."""
    if func is nnf.gelu:  # it is never in place
        return args, dict(kwargs)
    bound = signature(func).bind(*args, **kwargs)
    bound.arguments["inplace"] = False
    return bound.args, bound.kwargs


def _norm(  # noqa: PLR0913  # the arguments of torch's function
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Callable[[Tensor], Tensor]:
    """Returns `torch.nn.functional.batch_norm` with these arguments, without updating running statistics."""
    mean, var = (None, None) if training else (running_mean, running_var)
    return lambda x: nnf.batch_norm(x, mean, var, weight, bias, training, momentum, eps)
