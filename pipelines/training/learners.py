"""From a config to what a method moves, and from a finished run back to the network that predicts."""

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

    from gradebook.mpl.step import Clock, Learner, Learners
    from gradebook.pipelines.training.dataset import InputSource, TrainingSet


def build(
    config: TrainConfig[Any],
    training_set: "TrainingSet",
    source: "InputSource",
    device: "torch.device",
    start: "nn.Module | None" = None,
) -> "Learners":
    """Makes the networks, the same ones on every process, with their optimisers.

    Args:
        config: its seed draws what is random.
        training_set: whose classes they tell.
        source: what they are fed.
        device: where they are.
        start: the timm model that networks on pixels begin as, without one that of the config's backbone.
    """
    import torch

    from gradebook.mpl.step import Learners

    torch.manual_seed(config.seed)
    new = partial(_network, training_set=training_set, shape=_shape(source), start=start)
    make = partial(_learner, config, device, fsdp.mesh(config, device))
    student = make(new(config, hidden=config.student_hidden), config.student, average=config.average)
    teacher = None
    if has_teacher(config):
        other = replace(config, backbone=config.teacher_backbone or config.backbone)
        teacher = make(new(other, hidden=config.hidden), config.teacher, average=0.0)
    return Learners(
        student=student, teacher=teacher, samples=len(training_set.sample_ids), unlabelled=len(training_set.unlabelled)
    )


def has_teacher(config: TrainConfig[Any]) -> bool:
    """Tells whether a run trains a network beside the student: some methods do only where it has a size of its own."""
    from gradebook.mpl.methods import METHODS

    method = METHODS[config.method]
    own_size = bool(config.student_hidden or config.teacher_backbone)
    return (method.teacher and not config.distributions) or (method.first_teacher and own_size)


def set_learning_rates(learners: "Learners", config: TrainConfig[Any], clock: "Clock") -> None:
    """Sets the learning rates and the decay of the average for one step: pure functions of the step."""
    from gradebook.mpl.schedules import average_decay, warmup_cosine

    moved = [(learners.student, config.student), (learners.teacher, config.teacher)]
    for learner, optim in moved:
        if learner is not None:
            share = warmup_cosine(clock, wait=optim.wait_steps, warmup=optim.warmup_steps)
            for group in learner.optimizer.param_groups:
                group["lr"] = optim.lr * share
    if learners.student.average is not None:
        learners.student.average.decay = average_decay(clock, config.average)


def finetuning_learner(learners: "Learners", config: TrainConfig[Any]) -> "Learners":
    """Returns the averaged student as a learner of its own, to be trained on the labels alone."""
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
    """Returns whose weights are no numbers any more, as sentences' parts: "a weight of the student"."""
    from gradebook.mpl import sharding

    moved = {"student": learners.student, "teacher": learners.teacher}
    return [
        f"a weight of the {who}"
        for who, learner in moved.items()
        if learner is not None and not sharding.is_finite(learner.net)
    ]


def _shape(source: "InputSource") -> tuple[int, float]:
    """Returns D and the scale of cached features; zeros for images."""
    from gradebook.pipelines.training.dataset import CachedViews

    return (source.features, source.scale()) if isinstance(source, CachedViews) else (0, 0.0)


def _network(
    config: TrainConfig[Any],
    *,
    training_set: "TrainingSet",
    shape: tuple[int, float],
    hidden: int,
    start: "nn.Module | None",
) -> "nn.Module":
    from gradebook.mpl.backbones import fit_to
    from gradebook.mpl.lora import adapt
    from gradebook.mpl.networks import LinearHead, MlpHead

    features, scale = shape
    classes = len(training_set.classes)
    if config.inputs == "pixels":
        pretrained = config.weights == "pretrained" and start is None
        net = image_classifier(
            config.backbone, classes, size=config.size, pretrained=pretrained, dropout=config.dropout
        )
        if start is not None:
            fit_to(start, config.size)
            net.model.load_state_dict(start.state_dict())
        net.frozen_norms = config.norms == "frozen"
        model: Any = net.model
        if config.lora_rank and not adapt(net, config.lora_rank, trained=model.get_classifier()):
            raise ConfigError(f"{config.backbone} has no attention to adapt: leave --lora-rank out, or take a ViT")
        return net
    return MlpHead(features, hidden, classes, scale) if hidden else LinearHead(features, classes, scale)


def _learner(
    config: TrainConfig[Any],
    device: "torch.device",
    shares: "DeviceMesh | None",
    net: "nn.Module",
    optim: OptimConfig,
    *,
    average: float,
) -> "Learner":
    import torch

    from gradebook.mpl import sharding
    from gradebook.mpl.accumulation import accumulate
    from gradebook.mpl.networks import to_channels_last
    from gradebook.mpl.step import Learner

    if config.inputs == "pixels" and shares is None:
        to_channels_last(net)
    kept = fsdp.sharded_average(net, average, device, shares)
    net.to(device).train()
    if config.recompute:
        sharding.recompute(net)
    accumulate(net, config.accumulate)
    if shares is not None:
        sharding.shard(net, shares)
    optimizer = torch.optim.SGD(
        net.parameters(),
        optim.lr,
        momentum=optim.momentum,
        nesterov=optim.momentum > 0,
        weight_decay=optim.weight_decay,
    )
    return Learner(
        net=net,
        optimizer=optimizer,
        average=kept,
        clip=optim.clip,
    )
