"""Passes that keep less for their backward pass: what follows from the rest by a little arithmetic is computed again.

Of a convolution, the norm behind it and the norm's unit, a pass keeps two maps: the convolution's, for the norm's
derivative, and the unit's, for the next convolution's. The second follows from the first by a few operations a number
where the convolution took hundreds, so half of the memory costs next to no time, and every number stays the same to
the bit (in-place activated BatchNorm, Rota Bulò et al., 2018, https://arxiv.org/abs/1712.02616, goes back from the
second map to the first instead, for units that can be inverted). A sum of maps that are kept is not kept either.
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

IN_PLACE = (nnf.relu, nnf.leaky_relu)  # units whose derivative wants their result, so that they may work in place
UNITS = (*IN_PLACE, nnf.hardtanh, nnf.silu, nnf.hardswish, nnf.gelu)
SUMS = (torch.add, torch.Tensor.add)
MOST = 6  # operations that are worth doing again: a norm, its unit and the sums of four blocks before it

Shape = tuple[tuple[int, ...], tuple[int, ...], int]  # sizes, strides and where it begins


@contextmanager
def recompute_activations(
    net: nn.Module, convolutions: ConvolutionCache | None = None, *, recompute_first_blocks: bool = False
) -> Iterator[None]:
    """Makes a convolutional network's passes inside keep less, unless they keep less already or weights are shared out.

    Args:
        net: its weights and buffers must be the same at the backward pass as inside.
        convolutions: takes what the convolutions return, unless nothing is spared.
        recompute_first_blocks: whether the first third of the blocks save only their inputs. They have the largest
            maps: in WRN-28-2 four sevenths of what is left, for a third of a forward pass more.
    """
    whole = blocks(net)
    if not _can_spare(net, whole):
        yield
        return
    known = _Known(convolutions)
    first = whole[: len(whole) // 3] if recompute_first_blocks else []
    for block in first:
        block.forward = partial(known.apart, partial(recomputed, block, block.forward))
    try:
        with saved_tensors_hooks(known.pack, _unpack), known:
            yield
    finally:
        known.forget()
        for block in first:
            del block.forward


class _Again:
    """How a tensor is computed again, and the tensor itself between the first and the last time that it is used."""

    def __init__(self, call: Callable[..., Tensor], *sources: "Tensor | _Again"):
        self._call = call
        self._sources = [s if isinstance(s, _Again) else (s.detach(), s._version) for s in sources]
        self._uses = 0
        self._value: Tensor | None = None
        self.operations: int = 1 + sum(s.operations for s in sources if isinstance(s, _Again))

    def kept_once_more(self) -> "_Again":
        """Counts a use that will come."""
        self._uses += 1
        return self

    def used(self) -> Tensor:
        """Returns the tensor, for one of the uses that were counted."""
        with torch.no_grad():
            value = self.computed()
        self._uses -= 1
        self._value = value if self._uses > 0 else None
        return value

    def computed(self) -> Tensor:
        """Returns the tensor, and does not hold it: what it is computed of would be held for long."""
        return self._call(*map(_current, self._sources)) if self._value is None else self._value


class _Known(TorchFunctionMode):
    """While it is entered, knows which tensors are kept, and how those that follow from them are computed again."""

    def __init__(self, convolutions: ConvolutionCache | None):
        super().__init__()
        self._convolutions = convolutions
        self._apart = False
        self._known: dict[tuple[int, int], tuple[Tensor | _Again, Shape, StorageWeakRef]] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Calls it, and learns what came of it."""
        more = dict(kwargs or {})
        if self._apart or not args:
            return func(*args, **more)
        if func in UNITS and func not in IN_PLACE and self._of(args[0]) is not None:
            args, more = _out_of_place(func, args, more)  # it would keep a copy of what it changes
        again = self._again(func, args, more)
        if again is not None and func in IN_PLACE:  # if so, it keeps its result during the call
            self._learn(args[0], args[0]._version + 1, again)
        out = func(*args, **more)
        if again is not None:
            self._learn(out, out._version, again)
        if func is torch.conv2d and self._convolutions is not None:
            self._learn(out, out._version, step_timer.keep(self._convolutions.kept(out)))
        return out

    def pack(self, tensor: Tensor) -> "Tensor | _Again":
        """Returns what to keep of a tensor that a derivative will want."""
        known = self._of(tensor)
        if isinstance(known, _Again):
            return known.kept_once_more()
        self._learn(tensor, tensor._version, tensor.detach())
        return step_timer.keep(tensor)

    def apart(self, call: Callable[..., Any], *given: Any) -> Any:
        """Returns what a call returns, in which it learns nothing."""
        self._apart = True
        try:
            return call(*given)
        finally:
            self._apart = False

    def forget(self) -> None:
        """Lets go of everything: the graph holds the hooks, and so this, until its last tensor is used."""
        self._known.clear()

    def _again(self, func: Callable[..., Any], args: Sequence[Any], more: Mapping[str, Any]) -> _Again | None:
        """Returns how to compute a call's result again, if that takes few operations on what is kept."""
        again, given = None, args[1:]  # what is to be called again must not hold args[0]
        if func is nnf.batch_norm:
            known = self._of(args[0])
            again = _Again(_norm(*given, **more), args[0] if known is None else known)
        elif func in UNITS and isinstance(norm := self._of(args[0]), _Again):
            again = _Again(lambda x: func(x, *given, **more), norm)
        elif func in SUMS and not more and all(isinstance(term, Tensor) for term in args):
            terms = [known for term in args if (known := self._of(term)) is not None]
            again = _Again(torch.add, *terms) if len(terms) == 2 else None
        return again if again is not None and torch.is_grad_enabled() and again.operations <= MOST else None

    def _learn(self, tensor: Tensor, version: int, known: Tensor | _Again) -> None:
        # A weak reference lets the memory go, and keeps the storage's number from being given to another.
        storage = tensor.untyped_storage()
        self._known[storage._cdata, version] = known, _shape(tensor), StorageWeakRef(storage)

    def _of(self, tensor: Tensor) -> "Tensor | _Again | None":
        known, shape, _ = self._known.get((tensor.untyped_storage()._cdata, tensor._version), (None, None, None))
        return known if shape == _shape(tensor) else None


def _can_spare(net: nn.Module, whole: Sequence[nn.Module]) -> bool:
    """Returns whether there are maps to spare, of a whole batch at once, each block once, with weights all here.

    XLA compiles a step as a whole: it finds what is computed twice, and decides by itself what it keeps.
    """
    if any(weight.device.type == "xla" for weight in net.parameters()):
        return False
    changed = any("forward" in vars(module) for module in (net, *whole)) or is_sharded(net)
    return not changed and any(isinstance(module, nn.Conv2d) for module in net.modules())


def _unpack(kept: Tensor | _Again) -> Tensor:
    return kept.used() if isinstance(kept, _Again) else kept


def _current(source: _Again | tuple[Tensor, int]) -> Tensor:
    if isinstance(source, _Again):
        return source.computed()
    tensor, version = source
    assert tensor._version == version, "what is to be computed with again was changed in place since"
    return tensor


def _shape(tensor: Tensor) -> Shape:
    return tuple(tensor.shape), tensor.stride(), int(tensor.storage_offset())


def _out_of_place(
    func: Callable[..., Any], args: Sequence[Any], more: Mapping[str, Any]
) -> tuple[Sequence[Any], dict[str, Any]]:
    """Returns the arguments that have a unit leave its input as it is."""
    if func is nnf.gelu:  # which has no other way
        return args, dict(more)
    bound = signature(func).bind(*args, **more)
    bound.arguments["inplace"] = False
    return bound.args, bound.kwargs


def _norm(
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Callable[[Tensor], Tensor]:
    """Returns `torch.nn.functional.batch_norm` with these arguments, which leaves running statistics alone."""
    mean, var = (None, None) if training else (running_mean, running_var)
    return lambda x: nnf.batch_norm(x, mean, var, weight, bias, training, momentum, eps)
