"""Sharded weights, for networks that do not fit on one device.

Fully sharded data parallelism (Rajbhandari et al., 2020, https://arxiv.org/abs/1910.02054; torch's `fully_shard`): each
device holds a shard of every weight, its gradient and its optimiser state. The weights of a block are gathered just
before it computes and freed right after. In the hybrid form weights are sharded within a node and replicated across
nodes: weights are gathered within a node, and gradients are averaged across nodes.

Otherwise a step is unchanged: a sharded weight is a `DTensor` under its old name, and `local` returns its shard.
`backward` gives gradients averaged over all devices.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.utils.checkpoint import checkpoint


def blocks(net: nn.Module) -> list[nn.Module]:
    """Returns the blocks of a network: modules in a sequence that have submodules themselves."""
    collected: list[nn.Module] = []
    _collect(net, within=False, collected=collected)
    return collected


def shard(net: nn.Module, mesh: DeviceMesh) -> None:
    """Shards the network's weights over the mesh, block by block, in place. Every process must have the same weights.

    Create optimisers afterwards, since the parameters are replaced by new ones with the same names.

    Args:
        net: on the mesh's device.
        mesh: of shape (nodes, devices per node): weights are replicated along the first dimension and sharded along the
            second.
    """
    for block in blocks(net):
        fully_shard(block, mesh=mesh, reshard_after_forward=True)
    fully_shard(net, mesh=mesh, reshard_after_forward=True)


def recompute(net: nn.Module) -> None:
    """Makes every block save only its input, and recompute its activations in the backward pass; in place.

    The recomputation draws the same random numbers and does not update BatchNorm's running statistics.
    Call it before `shard`.
    """
    for block in blocks(net):
        block.forward = partial(recomputed, block, block.forward)


def recomputed(module: nn.Module, forward: Callable[..., Any], *inputs: Any) -> Any:
    """Returns forward(*inputs), saving only the inputs for the backward pass; see `recompute`."""
    if not torch.is_grad_enabled():
        return forward(*inputs)
    return checkpoint(forward, *inputs, use_reentrant=False, context_fn=partial(_contexts, module))


def is_sharded(net: nn.Module) -> bool:
    """Returns whether the network's weights are sharded."""
    return any(isinstance(parameter, DTensor) for parameter in net.parameters())


def local(tensor: Tensor) -> Tensor:
    """Returns this process's shard of a sharded tensor, without a copy; any other tensor unchanged."""
    return tensor._local_tensor if isinstance(tensor, DTensor) else tensor


def total(value: Tensor, like: Iterable[Tensor]) -> Tensor:
    """Returns the sum of `value` () over the shards, if the tensors that it was computed from are sharded."""
    sharded = next((tensor for tensor in like if isinstance(tensor, DTensor)), None)
    if sharded is None:
        return value
    value = value.clone()
    for dimension, placement in enumerate(sharded.placements):
        if placement.is_shard():
            dist.all_reduce(value, group=sharded.device_mesh.get_group(dimension))
    return value


def norm(tensors: Iterable[Tensor]) -> Tensor:
    """Returns the Euclidean norm () of all the tensors together, sharded or not."""
    parts = list(tensors)
    return total(torch.stack([local(t).square().sum() for t in parts]).sum(), parts).sqrt()


def is_finite(net: nn.Module) -> bool:
    """Returns whether all weights are finite; the same result on every process of a sharded network."""
    weights = list(net.parameters())
    bad = torch.stack([(~local(w).isfinite()).sum() for w in weights]).sum()
    return int(total(bad, weights)) == 0


def whole(net: nn.Module) -> dict[str, Tensor]:
    """Returns the network's state with unsharded weights; all processes of a sharded network must call it."""
    return {name: value.full_tensor() if isinstance(value, DTensor) else value for name, value in _state(net)}


def gradient_of(loss: Tensor, net: nn.Module) -> dict[str, Tensor]:
    """Returns the gradient of `loss` () in a sharded network's weights, averaged over the processes.

    Sharded weights can only be differentiated through their `.grad`, which must be empty.
    """
    assert all(parameter.grad is None for parameter in net.parameters()), (
        "gradients must be empty: do the optimiser's step first"
    )
    torch.autograd.backward(loss)
    gradient = {name: p.grad for name, p in net.named_parameters() if p.grad is not None}
    net.zero_grad(set_to_none=True)
    return gradient


def like_shard(value: Tensor, parameter: Tensor) -> Tensor:
    """Returns a shard as a tensor sharded like the parameter; unchanged for a plain parameter."""
    if not isinstance(parameter, DTensor):
        return value
    return DTensor.from_local(
        value,
        parameter.device_mesh,
        parameter.placements,
        run_check=False,
        shape=parameter.shape,
        stride=parameter.stride(),
    )


def _state(net: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from net.state_dict().items()


def _collect(module: nn.Module, *, within: bool, collected: list[nn.Module]) -> None:
    for child in module.children():
        sequence = isinstance(child, (nn.Sequential, nn.ModuleList))
        has_parts = next(child.children(), None) is not None
        if within and has_parts and not _holds_sequence_of_parts(child):
            collected.append(child)
        else:
            _collect(child, within=sequence, collected=collected)


def _holds_sequence_of_parts(module: nn.Module) -> bool:
    """Returns whether a module is a stage made of blocks."""
    sequences = [m for m in module.modules() if isinstance(m, (nn.Sequential, nn.ModuleList))]
    return any(next(part.children(), None) is not None for sequence in sequences for part in sequence)


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _buffers_preserved(block)


@contextmanager
def _buffers_preserved(block: nn.Module) -> Iterator[None]:
    """Replaces the block's buffers by copies, so that its updates to them are discarded."""
    original = [(module, dict(module._buffers)) for module in block.modules()]
    for module, buffers in original:
        module._buffers.update({name: b.clone() for name, b in buffers.items() if b is not None})
    try:
        yield
    finally:
        for module, buffers in original:
            module._buffers.update(buffers)
