"""Named starting points, as functions; and the command line on top of them.

A preset's numbers were chosen on held-out images of CIFAR-10's training set, never on a test set (docs/log.md).
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Generic

from pydantic import TypeAdapter, ValidationError
from tyro.conf import FlagCreatePairsOff, Positional, arg

from gradebook.pipelines.training.config import (
    ConfigError,
    OptimConfig,
    Settings,
    TrainConfig,
    describe_error,
    differences,
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


PRESETS: dict[str, Callable[[str], TrainConfig[Any]]] = {
    preset.__name__: preset
    for preset in (
        quick,
        finetune,
        finetune_cpu,
        lora,
        cifar10_4k,
        svhn_1k,
        imagenet_10,
        imagenet_pool,
        cifar10_cpu,
        large_l2,
        large_b6_wide,
    )
}


@dataclass(frozen=True, kw_only=True)
class TrainCommand(Generic[Settings]):
    """Train a classifier on a project's labels and unlabelled images.

    --preset and --method decide the other defaults and which settings a method has: see also --method uda --help.
    """

    project: Positional[Path]
    """The project's directory."""
    config: Annotated[TrainConfig[Settings], arg(name="")]
    resume: FlagCreatePairsOff[bool] = False
    """Go on with a stopped run from its last checkpoint, bit for bit: the newest one, or --run NAME."""
    json: FlagCreatePairsOff[bool] = False
    """Print the result as one line of JSON."""


def parse_command(
    arguments: Sequence[str], *, program: str, saved: Callable[[Path, str], dict[str, Any]]
) -> TrainCommand[Any]:
    """Reads the command line of a training: preset and method first, since they decide what else can be said.

    Args:
        arguments: without the program's name.
        program: what to call it in the help.
        saved: (project, run's name or "") -> the config that `--resume` goes on with.

    Raises:
        ConfigError: an impossible setting, or `--resume` with another setting than the run's own.
    """
    import tyro

    stored = None
    if "--resume" in arguments and not {"--help", "-h"} & set(arguments):
        if arguments[0].startswith("-"):
            raise ConfigError(f"give the project first: {program} PROJECT --resume")
        stored = config_from_json(saved(Path(arguments[0]), _value(arguments, "--run") or ""))
    method = _value(arguments, "--method") or (stored.method if stored else "mpl")
    preset = _value(arguments, "--preset") or (stored.preset if stored else "quick")
    start = stored if stored and stored.method == method else preset_of(preset, method)
    generic: Any = TrainCommand
    call: TrainCommand[Any] = tyro.cli(
        generic[type(start.settings)],
        args=arguments,
        prog=program,
        default=TrainCommand(project=tyro.MISSING, config=start),
    )
    if stored and call.config != stored:
        raise ConfigError(
            f"--resume goes on with the run's own settings ({'; '.join(differences(stored, call.config))}): "
            "leave the others out, or start a new run"
        )
    return call


def preset_of(preset: str, method: str) -> TrainConfig[Any]:
    """Returns the preset of that name for the method of that name.

    Raises:
        ConfigError: there is no such preset or method.
    """
    if preset not in PRESETS:
        raise ConfigError(f"there is no preset {preset!r}: choose one of {', '.join(PRESETS)}")
    return PRESETS[preset](method)


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


def _value(arguments: Sequence[str], flag: str) -> str | None:
    """Returns what the command line gives for a flag, as `--flag x` or `--flag=x`."""
    for position, argument in enumerate(arguments):
        if argument == flag and position + 1 < len(arguments):
            return arguments[position + 1]
        if argument.startswith(f"{flag}="):
            return argument.split("=", 1)[1]
    return None
