"""The learners of a run: networks, optimizers and averages, built from its config."""

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.training import fsdp
from gradebook.pipelines.training.config import ConfigError, OptimConfig, TrainConfig
from gradebook.pipelines.training.networks import image_classifier

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torch.distributed.device_mesh import DeviceMesh
    from torch.optim import Optimizer

    from gradebook.mpl.step import Batch, Learner, Learners, Runtime, StepIndex, StepReport
    from gradebook.pipelines.training.dataset import InputSource, TrainingSet


def build(
    config: TrainConfig[Any],
    training_set: "TrainingSet",
    inputs: "InputSource",
    device: "torch.device",
    initial_model: "nn.Module | None" = None,
) -> "Learners":
    """Builds the networks and their optimizers, the same ones in every process.

    Args:
        config: of the run; its seed seeds the initial weights.
        training_set: gives the classes.
        inputs: gives the number of features, where they are cached.
        device: to train on.
        initial_model: the timm model whose weights networks on pixels start from, instead of the config's own.
    """
    import torch

    from gradebook.mpl.step import Learners

    torch.manual_seed(config.seed)
    network = partial(_network, classes=len(training_set.classes), inputs=inputs, initial_model=initial_model)
    learner = partial(_learner, config, device, fsdp.mesh(config, device))
    student = learner(network(config, hidden=config.student_hidden), config.student, average=config.average)
    teacher = None
    if has_teacher(config):
        other = replace(config, backbone=config.teacher_backbone or config.backbone)
        teacher = learner(network(other, hidden=config.hidden), config.teacher, average=0.0)
    samples, unlabelled = len(training_set.sample_ids), len(training_set.unlabelled)
    return Learners(student=student, teacher=teacher, samples=samples, unlabelled=unlabelled)


def has_teacher(config: TrainConfig[Any]) -> bool:
    """Returns whether a run trains a teacher network; some methods do so only where it has a size of its own."""
    from gradebook.mpl.methods import METHODS

    method = METHODS[config.method]
    own_size = bool(config.student_hidden or config.teacher_backbone)
    return (method.teacher and not config.distributions) or (method.first_teacher and own_size)


def set_learning_rates(learners: "Learners", config: TrainConfig[Any], index: "StepIndex") -> None:
    """Sets the learning rates and the decay of the average for a step; they depend on the step alone."""
    from gradebook.mpl.schedules import average_decay, warmup_constant, warmup_cosine

    schedule = warmup_constant if config.schedule == "constant" else warmup_cosine
    for learner, optim in ((learners.student, config.student), (learners.teacher, config.teacher)):
        if learner is not None:
            factor = schedule(index, wait=optim.wait_steps, warmup=optim.warmup_steps)
            for group in learner.optimizer.param_groups:
                group["lr"] = optim.lr * factor
    if learners.student.average is not None:
        learners.student.average.decay = average_decay(index, config.average)


def train_step(
    learners: "Learners", batch: "Batch", runtime: "Runtime", config: TrainConfig[Any], step: int, accelerator: Any
) -> "StepReport":
    """Does step number `step`, counted from 0, of the config's method; returns what the method reports."""
    from gradebook.mpl.methods import METHODS
    from gradebook.mpl.step import StepIndex

    index = StepIndex(min(step, config.steps - 1), config.steps)  # a live session continues after its config's steps
    set_learning_rates(learners, config, index)
    with accelerator.autocast():
        return METHODS[config.method].step(learners, batch, runtime, config.settings, index)


def finetuning_learner(learners: "Learners", config: TrainConfig[Any]) -> "Learners":
    """Returns the averaged student with an optimizer of its own, for training on the labels alone."""
    import torch

    from gradebook.mpl.accumulation import accumulate
    from gradebook.mpl.step import Learner, Learners

    net, trained = learners.student.best_net().train(), dict(learners.student.net.named_parameters())
    for name, weight in net.named_parameters():
        weight.requires_grad_(trained[name].requires_grad)
    if net is not learners.student.net:
        accumulate(net, config.accumulate)
    optimizer = torch.optim.SGD(net.parameters(), config.finetune_lr, momentum=0.9, nesterov=True)
    return Learners(student=Learner(net=net, optimizer=optimizer))


def non_finite_weights(learners: "Learners") -> list[str]:
    """Returns the networks with weights that are not finite, as parts of a sentence: "a weight of the student"."""
    from gradebook.mpl import sharding

    by_role = {"student": learners.student, "teacher": learners.teacher}
    return [
        f"a weight of the {role}"
        for role, learner in by_role.items()
        if learner is not None and not sharding.is_finite(learner.net)
    ]


def _network(
    config: TrainConfig[Any],
    *,
    classes: int,
    inputs: "InputSource",
    hidden: int,
    initial_model: "nn.Module | None",
) -> "nn.Module":
    """Returns a head on cached features, or a whole network on pixels."""
    from gradebook.mpl.networks import LinearHead, MlpHead
    from gradebook.pipelines.training.cached_views import CachedViews

    if config.inputs == "pixels":
        return _network_on_pixels(config, classes, initial_model)
    assert isinstance(inputs, CachedViews)
    features, scale = inputs.features, inputs.scale
    return MlpHead(features, hidden, classes, scale) if hidden else LinearHead(features, classes, scale)


def _network_on_pixels(config: TrainConfig[Any], classes: int, initial_model: "nn.Module | None") -> "nn.Module":
    from gradebook.mpl.backbones import set_input_size
    from gradebook.mpl.lora import adapt

    weights = config.weights if initial_model is None else "random"
    net = image_classifier(config.backbone, classes, size=config.size, weights=weights, dropout=config.dropout)
    if initial_model is not None:
        set_input_size(initial_model, config.size)
        net.model.load_state_dict(initial_model.state_dict())
    net.frozen_norms = config.norms == "frozen"
    model: Any = net.model
    if config.lora_rank and not adapt(net, config.lora_rank, trained=model.get_classifier()):
        raise ConfigError(f"{config.backbone} has no attention to adapt: leave --lora-rank out, or take a ViT")
    return net


def _learner(
    config: TrainConfig[Any],
    device: "torch.device",
    mesh: "DeviceMesh | None",
    net: "nn.Module",
    optim: OptimConfig,
    *,
    average: float,
) -> "Learner":
    """Moves a network to its device, with an optimizer and, if `average` is not 0, the average of its weights."""
    from gradebook.mpl import sharding
    from gradebook.mpl.accumulation import accumulate
    from gradebook.mpl.networks import to_channels_last
    from gradebook.mpl.step import Learner

    if config.inputs == "pixels" and mesh is None:
        to_channels_last(net)
    averaged = fsdp.weight_average(net, average, device, mesh)
    net.to(device).train()
    if config.recompute:
        sharding.recompute(net)
    accumulate(net, config.accumulate)
    if mesh is not None:
        sharding.shard(net, mesh)
    return Learner(net=net, optimizer=_optimizer(net, optim), average=averaged, clip=optim.clip)


def _optimizer(net: "nn.Module", optim: OptimConfig) -> "Optimizer":
    import torch

    return torch.optim.SGD(
        net.parameters(),
        optim.lr,
        momentum=optim.momentum,
        nesterov=optim.momentum > 0,
        weight_decay=optim.weight_decay,
    )
