"""Runs whose processes share the networks' weights out (`gradebook.mpl.sharding`): what that changes around the step.

Shards stay where they are made: each process checkpoints its own. To be looked at or kept for good, a network is
gathered into a plain one, which one device holds for evaluation; training is what it could not hold.
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

METHODS = ("mpl", "supervised")  # those whose step is known to be the same on shards


def check(config: TrainConfig[Any], processes: int) -> None:
    """Checks that the run's weights can be shared out, if they are to be.

    Raises:
        ConfigError: they cannot.
    """
    if config.sharding == "none":
        return
    if config.inputs != "pixels":
        raise ConfigError("heads on cached views are too small to be shared out: leave --sharding hybrid out")
    if config.method not in METHODS:
        raise ConfigError(f"{config.method} cannot be trained with --sharding hybrid: choose {' or '.join(METHODS)}")
    if config.method == "mpl" and config.settings.feedback == "exact":
        raise ConfigError("exact feedback needs whole weights: with --sharding hybrid give --feedback difference")
    if config.accumulate > 1:
        raise ConfigError("sharded weights take a batch in one piece: with --sharding hybrid give --recompute instead")
    if processes == 1:
        raise ConfigError(
            "one process has nobody to share weights with: start several with accelerate launch, "
            "or give --sharding none"
        )


def mesh(config: TrainConfig[Any], device: "torch.device") -> "DeviceMesh | None":
    """Returns the processes as (nodes, processes a node), or nothing where every one keeps all weights.

    Raises:
        ConfigError: the nodes have not as many processes each.
    """
    if config.sharding == "none":
        return None
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh

    processes = dist.get_world_size()
    per_node = int(os.environ.get("LOCAL_WORLD_SIZE", processes))
    if processes % per_node:
        raise ConfigError(f"{processes} processes are not a number of nodes of {per_node}: launch as many on each node")
    return init_device_mesh(device.type, (processes // per_node, per_node), mesh_dim_names=("nodes", "devices"))


def sharded_average(
    net: "nn.Module", decay: float, device: "torch.device", shares: "DeviceMesh | None"
) -> "ModelEmaV3 | None":
    """Returns the running average, on a device, of a network on the processor; shared out, if there is a mesh.

    It is made on the processor because it makes a generator of random numbers, which XLA has none of.
    """
    from timm.utils.model_ema import ModelEmaV3

    from gradebook.mpl import sharding

    if not decay:
        return None
    average = ModelEmaV3(net, decay=decay, foreach=shares is None)  # torch cannot mix shards and whole buffers
    average.to(device)
    if shares is not None:
        sharding.shard(average.module.requires_grad_(True), shares)
    return average


def gathered(net: "nn.Module", backbone: str, classes: int, size: int | None = None) -> "nn.Module":
    """Returns a network to evaluate or save; every process of a sharded one calls this, and gets a copy in full.

    Args:
        net: a network on pixels, sharded; any other comes back as it is.
        backbone: its timm model.
        classes: K.
        size: pixels a side of its images; see `image_classifier`.
    """
    from gradebook.mpl import sharding
    from gradebook.pipelines.training.networks import image_classifier, on_meta

    if not sharding.is_sharded(net):
        return net
    plain = on_meta(lambda: image_classifier(backbone, classes, size=size, pretrained=False))
    plain.load_state_dict(sharding.whole(net), assign=True)
    for name, buffer in net.named_buffers():  # those that no state holds, such as the images' mean
        owner, _, leaf = name.rpartition(".")
        plain.get_submodule(owner)._buffers[leaf] = buffer
    return plain.requires_grad_(False).eval()


def local_shards(state: Any) -> Any:
    """Returns a state, nested as it may be, with this process's shards in the place of sharded tensors."""
    from torch.distributed.tensor import DTensor
    from torch.utils._pytree import tree_map_only

    from gradebook.mpl import sharding

    return tree_map_only(DTensor, sharding.local, state)


def load_shards(net: "nn.Module", state: "dict[str, torch.Tensor]") -> None:
    """Puts what `local_shards` made of the network's state back into it."""
    import torch

    from gradebook.mpl import sharding

    if not sharding.is_sharded(net):
        net.load_state_dict(state)
        return
    with torch.no_grad():
        for name, value in net.state_dict().items():
            sharding.local(value).copy_(state[name])


def load_optimizer_shards(optimizer: "Optimizer", state: dict[str, Any]) -> None:
    """Loads what `local_shards` made of the optimiser's state."""
    from torch import Tensor

    from gradebook.mpl import sharding

    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    remembered = {
        number: {k: sharding.like_shard(v, parameters[number]) if isinstance(v, Tensor) else v for k, v in kept.items()}
        for number, kept in state["state"].items()
    }
    optimizer.load_state_dict(state | {"state": remembered})
