"""Runs with sharded weights (`gradebook.mpl.sharding`): what differs outside the step.

Each process saves its own shards in a checkpoint. To be evaluated or exported, a network is gathered into a plain one:
one device can hold its weights, though not what training needs besides.
"""

import os
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.training.config import ConfigError, TrainConfig

if TYPE_CHECKING:
    import torch
    from timm.utils.model_ema import ModelEmaV3
    from torch import nn
    from torch.distributed.device_mesh import DeviceMesh
    from torch.optim import Optimizer

METHODS = ("mpl", "supervised")  # whose step is known to be the same on shards


def check(config: TrainConfig[Any], processes: int) -> None:
    """Checks that the run's weights can be sharded, if they are to be.

    Raises:
        ConfigError: they cannot.
    """
    if config.sharding == "none":
        return
    if config.inputs != "pixels":
        raise ConfigError("--sharding hybrid needs --inputs pixels: heads on cached views are too small to shard")
    if config.method not in METHODS:
        raise ConfigError(f"{config.method} cannot be trained with --sharding hybrid: choose {' or '.join(METHODS)}")
    if config.method == "mpl" and config.settings.feedback == "exact":
        raise ConfigError("exact feedback needs whole weights: with --sharding hybrid give --feedback difference")
    if config.accumulate > 1:
        raise ConfigError("sharded weights take a batch in one piece: with --sharding hybrid give --recompute instead")
    if processes == 1:
        raise ConfigError(
            "one process cannot shard weights: start several with accelerate launch, or give --sharding none"
        )


def mesh(config: TrainConfig[Any], device: "torch.device") -> "DeviceMesh | None":
    """Returns the processes as a mesh (nodes, processes of a node); None where every process keeps all weights.

    Raises:
        ConfigError: the nodes have different numbers of processes.
    """
    if config.sharding == "none":
        return None
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh

    processes = dist.get_world_size()
    per_node = int(os.environ.get("LOCAL_WORLD_SIZE", processes))
    if processes % per_node:
        raise ConfigError(f"{processes} processes cannot be {per_node} on each node: launch as many on each node")
    return init_device_mesh(device.type, (processes // per_node, per_node), mesh_dim_names=("nodes", "devices"))


def weight_average(
    net: "nn.Module", decay: float, device: "torch.device", mesh: "DeviceMesh | None"
) -> "ModelEmaV3 | None":
    """Returns the exponential moving average of a network's weights, on the device; None for a decay of 0.

    The network is still on the CPU: the average is copied there, because copying needs a generator, which XLA lacks.
    """
    from timm.utils.model_ema import ModelEmaV3

    from gradebook.mpl import sharding

    if not decay:
        return None
    average = ModelEmaV3(net, decay=decay, foreach=mesh is None)  # torch cannot mix shards and unsharded buffers
    average.to(device)
    if mesh is not None:
        sharding.shard(average.module.requires_grad_(True), mesh)
    return average


def gathered(net: "nn.Module", backbone: str, classes: int, size: int | None = None) -> "nn.Module":
    """Returns a network with all its weights, to evaluate or save. Every process calls this and gets a copy.

    Args:
        net: a sharded network on pixels; any other is returned as it is.
        backbone: its timm model.
        classes: K.
        size: side of its images in pixels; see `image_classifier`.
    """
    from gradebook.mpl import sharding
    from gradebook.pipelines.training.networks import image_classifier, on_meta

    if not sharding.is_sharded(net):
        return net
    plain = on_meta(lambda: image_classifier(backbone, classes, size=size, weights="random"))
    plain.load_state_dict(sharding.whole(net), assign=True)
    for name, buffer in net.named_buffers():  # also those that are not in the state, such as the images' mean
        owner, _, leaf = name.rpartition(".")
        plain.get_submodule(owner)._buffers[leaf] = buffer
    return plain.requires_grad_(False).eval()


def local_shards(state: Any) -> Any:
    """Returns a nested state with this process's shards instead of sharded tensors."""
    from torch.distributed.tensor import DTensor
    from torch.utils._pytree import tree_map_only

    from gradebook.mpl import sharding

    return tree_map_only(DTensor, sharding.local, state)


def load_shards(net: "nn.Module", state: "dict[str, torch.Tensor]") -> None:
    """Loads a network's state as `local_shards` returned it."""
    import torch

    from gradebook.mpl import sharding

    if not sharding.is_sharded(net):
        net.load_state_dict(state)
        return
    with torch.no_grad():
        for name, value in net.state_dict().items():
            sharding.local(value).copy_(state[name])


def load_optimizer_shards(optimizer: "Optimizer", state: dict[str, Any]) -> None:
    """Loads an optimizer's state as `local_shards` returned it."""
    from torch import Tensor

    from gradebook.mpl import sharding

    parameters = [p for group in optimizer.param_groups for p in group["params"]]

    def as_shards(index: int, saved: dict[str, Any]) -> dict[str, Any]:
        return {k: sharding.like_shard(v, parameters[index]) if isinstance(v, Tensor) else v for k, v in saved.items()}

    loaded = {index: as_shards(index, saved) for index, saved in state["state"].items()}
    optimizer.load_state_dict(state | {"state": loaded})
