"""Named starting points, as functions of the method.

A preset's numbers were chosen on held-out images of CIFAR-10's training set, never on a test set (docs/log.md).
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from gradebook.pipelines.training.config import (
    ConfigError,
    OptimConfig,
    TrainConfig,
    describe_error,
    method_settings,
)
from gradebook.pipelines.training.paper_presets import (
    cifar10_4k,
    cifar10_cpu,
    imagenet_10,
    imagenet_pool,
    large_b6_wide,
    large_l2,
    svhn_1k,
)


def quick(method: str) -> TrainConfig[Any]:
    """Heads on cached views of a frozen backbone: 600 steps in seconds on two CPU cores.

    With 5 labels a class of CIFAR-10 it takes supervised training's 45 % to 54 % or more (docs/results.md).
    """
    return TrainConfig(preset="quick", method=method, classifier="pooled", settings=method_settings(method))


def finetune(method: str) -> TrainConfig[Any]:
    """Whole networks on pixels, from pretrained weights: for a GPU; hours on a CPU at 224 px."""
    optim = OptimConfig(lr=0.01, weight_decay=5e-4, warmup_steps=50, clip=5.0)
    return TrainConfig(
        preset="finetune",
        method=method,
        inputs="pixels",
        steps=1000,
        labelled=16,
        unlabelled=48,
        student=optim,
        teacher=optim,
        average=0.995,
        workers=8,
        settings=method_settings(method),
    )


def finetune_cpu(method: str) -> TrainConfig[Any]:
    """The same for two CPU cores: 100 steps at 64 px with frozen BatchNorm, two to three minutes of one core.

    For --start with a run of the preset quick, which it takes further (docs/results.md).
    """
    config = finetune(method)
    optim = replace(config.student, lr=0.003)
    return replace(
        config,
        preset="finetune_cpu",
        size=64,
        steps=100,
        unlabelled=32,
        norms="frozen",
        student=optim,
        teacher=optim,
        finetune_lr=0.0003,
        workers=1,
    )


def lora(method: str) -> TrainConfig[Any]:
    """Low-rank adapters on the attention of a ViT, and its classifier: a hundredth of its weights, the others frozen.

    For backbones that few labels would spoil; needs a GPU at 224 px. Its learning rates were not tuned.
    """
    config = finetune(method)
    optim = replace(config.student, lr=0.03, weight_decay=0.0)
    return replace(
        config,
        preset="lora",
        backbone="vit_small_patch14_dinov2",
        lora_rank=8,
        student=optim,
        teacher=optim,
        finetune_lr=0.003,
    )


_OF_PROJECTS = (quick, finetune, finetune_cpu, lora)
_RESEARCH = (cifar10_4k, svhn_1k, imagenet_10, imagenet_pool, cifar10_cpu, large_l2, large_b6_wide)
PRESETS: dict[str, Callable[[str], TrainConfig[Any]]] = {p.__name__: p for p in (*_OF_PROJECTS, *_RESEARCH)}
RESEARCH = frozenset(preset.__name__ for preset in _RESEARCH)  # of papers' experiments and very large networks


def preset_of(preset: str, method: str) -> TrainConfig[Any]:
    """Returns the preset of that name for the method of that name.

    Raises:
        ConfigError: there is no such preset or method.
    """
    if preset not in PRESETS:
        raise ConfigError(f"there is no preset {preset!r}: choose one of {', '.join(PRESETS)}")
    return PRESETS[preset](method)


def with_settings(config: TrainConfig[Any], given: Mapping[str, Any]) -> TrainConfig[Any]:
    """Returns a config with other settings, named as on the command line: "student.lr" is the optimizer's.

    Raises:
        ConfigError: there is no such setting, or a value is invalid.
    """
    values: dict[str, Any] = asdict(config)
    for name, value in given.items():
        *groups, last = name.replace("-", "_").split(".")
        owner = values if groups or last in values else values["settings"]  # a method's own have no group
        for group in groups:
            owner = owner.get(group) if isinstance(owner, dict) else None
        if not isinstance(owner, dict) or last not in owner or isinstance(owner[last], dict):
            own = ", ".join([*(n for n in values if not isinstance(values[n], dict)), *values["settings"]])
            raise ConfigError(f"there is no setting {name!r} of {config.method}: choose one of {own}")
        owner[last] = value
    generic: Any = TrainConfig
    try:
        changed: TrainConfig[Any] = TypeAdapter(generic[type(config.settings)]).validate_python(values)
    except ValidationError as error:
        raise ConfigError(describe_error(error)) from error
    return changed


def config_from_json(saved: dict[str, Any]) -> TrainConfig[Any]:
    """Returns the config that a run saved; what its file holds besides settings is ignored.

    Settings that are newer than the run have their preset's value, except the classifier: a run that was started before
    there was a choice ends with its student.

    Raises:
        ConfigError: nothing was saved, or a value is invalid.
    """
    if not saved:
        raise ConfigError("the run ended before it had written its settings: start another one")
    preset = replace(preset_of(saved["preset"], saved["method"]), classifier="student")
    generic: Any = TrainConfig
    try:
        config: TrainConfig[Any] = TypeAdapter(generic[type(preset.settings)]).validate_python(asdict(preset) | saved)
    except ValidationError as error:
        raise ConfigError(describe_error(error)) from error
    return config
