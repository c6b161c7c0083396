"""What a training can be told. A config is data: checked here, saved whole beside the run, and the flags' source."""

from dataclasses import asdict, dataclass, field, fields
from typing import Annotated, Any, Generic, Literal, TypeVar

from tyro.conf import FlagConversionOff, arg

from storage.project import ProjectError

Settings = TypeVar("Settings")


class ConfigError(ProjectError):
    """A setting cannot be; the message says which one and what can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig:
    """SGD with momentum under a warm-up and half a cosine."""

    lr: float = 0.03
    """Full learning rate."""
    momentum: float = 0.9
    """Nesterov's momentum."""
    weight_decay: float = 0.0
    """Of all weights."""
    wait_steps: int = 0
    """Steps at zero rate; lets a teacher settle before its student moves."""
    warmup_steps: int = 0
    """Steps of the linear rise after that."""
    clip: float | None = None
    """Largest norm of the gradient."""

    def __post_init__(self) -> None:
        _positive(lr=self.lr)
        _not_negative(weight_decay=self.weight_decay, wait_steps=self.wait_steps, warmup_steps=self.warmup_steps)
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"momentum={self.momentum} must be from 0 to below 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig(Generic[Settings]):
    """Every setting of a run."""

    preset: str = "quick"
    """Where the other settings' defaults come from: quick (heads on cached views) or finetune (networks on pixels)."""
    method: str = "mpl"
    """How to learn: supervised, pseudo_label, noisy_student, uda, mpl, reduced_mpl, fixmatch, mean_teacher, mixmatch,
    remixmatch, vat, temporal_ensembling, ict, flexmatch, freematch or softmatch."""
    run: str = ""
    """The run's name; without one, the method and a number."""
    steps: int = 600
    """Steps to train."""
    seed: int = 0
    """Of everything random."""
    labelled: int = 32
    """B, labelled images a step, over all processes."""
    unlabelled: int = 192
    """U, unlabelled images a step, over all processes."""
    backbone: str = "tf_efficientnet_lite0"
    """The timm model: its cached views (quick), or the network itself (finetune)."""
    inputs: Literal["views", "pixels"] = "views"
    """What the networks are fed: cached views of a frozen backbone, or images."""
    size: int = 224
    """Pixels a side of an image (pixels only)."""
    weights: Literal["pretrained", "random"] = "pretrained"
    """What networks on pixels start from."""
    hidden: int = 256
    """Hidden units of the teacher's head on cached views; 0 makes it linear."""
    student_hidden: int = 0
    """The same of the student's, which is linear so that it exports as timm's own: one with hidden units does not."""
    teacher_backbone: str = ""
    """The teacher's timm model where it is another one than the student's (pixels only)."""
    student: OptimConfig = field(default_factory=OptimConfig)
    """How the student moves."""
    teacher: OptimConfig = field(default_factory=OptimConfig)
    """How the teacher moves."""
    average: float = 0.99
    """Largest decay of the student's averaged weights, which are the ones that predict; 0 keeps no average."""
    finetune_steps: int = 60
    """Steps on the labels alone that the averaged student gets at the end."""
    finetune_lr: float = 0.003
    """Learning rate of those steps."""
    validation_share: float = 0.1
    """Share of the labels that is held out, for validation_accuracy alone; every class keeps at least one label."""
    precision: Literal["no", "bf16"] = "no"
    """Half precision for the networks' passes."""
    record_every: int = 1
    """Steps between two entries of the record."""
    log_every: int = 20
    """Steps between two rows of the metrics."""
    validate_every: int = 100
    """Steps between two looks at the validation labels."""
    checkpoint_every: int = 200
    """Steps between two checkpoints."""
    workers: int = 2
    """Processes that decode and augment images (pixels only)."""
    settings: Annotated[FlagConversionOff[Settings], arg(name="")]

    def __post_init__(self) -> None:
        _positive(
            steps=self.steps,
            labelled=self.labelled,
            unlabelled=self.unlabelled,
            size=self.size,
            finetune_lr=self.finetune_lr,
            record_every=self.record_every,
            log_every=self.log_every,
            validate_every=self.validate_every,
            checkpoint_every=self.checkpoint_every,
        )
        if self.teacher_backbone and self.inputs == "views":
            raise ConfigError("cached views are of one backbone: give --inputs pixels with --teacher-backbone")
        _not_negative(
            hidden=self.hidden,
            student_hidden=self.student_hidden,
            seed=self.seed,
            finetune_steps=self.finetune_steps,
            workers=self.workers,
        )
        if not 0 <= self.average < 1 or not 0 <= self.validation_share < 1:
            raise ConfigError(
                f"average={self.average} and validation_share={self.validation_share} must be from 0 to below 1"
            )
        if self.run != self.run.strip() or any(c in self.run for c in "/\\\0") or self.run.startswith("."):
            raise ConfigError(f"run={self.run!r} cannot name a directory: use letters, digits, - and _")


def as_json(config: TrainConfig[Any]) -> dict[str, Any]:
    """Returns every setting, defaults included, the method's own under "settings"."""
    return asdict(config)


def differences(one: TrainConfig[Any], other: TrainConfig[Any]) -> list[str]:
    """Returns what differs between two configs, as sentences' parts: "steps 10, not 20"."""
    names = [f.name for f in fields(one) if getattr(one, f.name) != getattr(other, f.name)]
    return [f"{name} {getattr(one, name)}, not {getattr(other, name)}" for name in names]


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ConfigError(f"{name}={value} must be above 0")


def _not_negative(**values: float) -> None:
    for name, value in values.items():
        if value < 0:
            raise ConfigError(f"{name}={value} must not be negative")
