"""The settings of a training: checked here, saved whole beside the run, and the source of the command line's flags.

The text below a field is its help, on the command line and in the app.
"""

import dataclasses
from dataclasses import field, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import (
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
)
from pydantic.dataclasses import dataclass
from tyro.conf import FlagConversionOff, FlagCreatePairsOff, Positional, arg

from gradebook.storage.characters import has_control
from gradebook.storage.project import ProjectError

Settings = TypeVar("Settings")
T = TypeVar("T")
Fraction = Annotated[float, Field(ge=0, lt=1)]
DOCUMENTED = ConfigDict(use_attribute_docstrings=True)


class ConfigError(ProjectError):
    """A setting is invalid; the message says which one and what to give instead."""


def describe_error(error: ValidationError) -> str:
    """Returns the first of pydantic's errors as a sentence: "steps=0 must be above 0"."""
    first = error.errors()[0]
    name, value, context = ".".join(map(str, first["loc"])), first["input"], first.get("ctx", {})
    match first["type"]:
        case "value_error":  # of a `__post_init__`
            return str(context["error"])
        case "missing":
            return f"{name} is missing from the settings: start a new run"
        case "greater_than":
            return f"{name}={value} must be above {context['gt']:g}"
        case "greater_than_equal":
            return f"{name}={value} must be at least {context['ge']:g}"
        case "less_than":
            return f"{name}={value} must be below {context['lt']:g}"
        case "less_than_equal":
            return f"{name}={value} must be at most {context['le']:g}"
        case "literal_error":
            return f"{name}={value!r} is none of its values: choose {context['expected']}"
        case _:
            return f"{name}={value!r} cannot be used: {first['msg'][0].lower()}{first['msg'][1:]}"


def _raises_config_error(cls: type[T]) -> type[T]:
    """Makes a pydantic dataclass raise ConfigError where a setting is invalid."""
    validate: Any = cls.__init__

    @wraps(validate)
    def init(self: T, *args: Any, **kwargs: Any) -> None:
        try:
            validate(self, *args, **kwargs)
        except ValidationError as error:
            raise ConfigError(describe_error(error)) from error

    cls.__init__ = init  # type: ignore[assignment]
    return cls


@_raises_config_error
@dataclass(frozen=True, slots=True, kw_only=True, config=DOCUMENTED)
class OptimConfig:
    """SGD with momentum; the learning rate rises linearly, then follows the schedule of the run."""

    lr: PositiveFloat = 0.03
    """Peak learning rate."""
    momentum: Fraction = 0.9
    """Nesterov momentum."""
    weight_decay: NonNegativeFloat = 0.0
    """Weight decay of all weights."""
    wait_steps: NonNegativeInt = 0
    """Steps at learning rate 0, so that a teacher can settle before its student starts."""
    warmup_steps: NonNegativeInt = 0
    """Steps of linear warm-up after that."""
    clip: float | None = None
    """Largest norm of the gradient; larger ones are clipped."""


@_raises_config_error
@dataclass(frozen=True, slots=True, kw_only=True, config=DOCUMENTED)
class DataConfig:
    """Where images and labels come from."""

    kind: Literal["project", "folder", "cifar10", "svhn"] = "project"
    """A project; or, without a catalogue, a folder with train/CLASS and test/CLASS, or a torchvision data set."""
    images: str = ""
    """Directory of the data; by default the folder `data` beside the runs (not with project)."""
    labels: NonNegativeInt = 4000
    """Training images whose label the run may use, drawn evenly over the classes; 0 for all (not with project)."""
    label_list: str = ""
    """File that names these images instead, one per line (not with project)."""
    validation: NonNegativeInt = 0
    """Training images held out for validation_accuracy (not with project)."""
    pool: str = ""
    """Further unlabelled images: a folder, or a table with a column filepath (folder only)."""

    def __post_init__(self) -> None:
        if self.pool and self.kind != "folder":
            raise ConfigError("--data.pool is for --data.kind folder: import further images into a project instead")


@_raises_config_error
@dataclass(frozen=True, slots=True, kw_only=True, config=DOCUMENTED)
class TrainConfig(Generic[Settings]):
    """Every setting of a run."""

    preset: str = "quick"
    """Defaults of the other settings: quick (linear heads on cached views), finetune (whole networks on images), or a
    preset of the paper's experiments."""
    method: str = "mpl"
    """Training method: supervised, pseudo_label, noisy_student, uda, mpl, reduced_mpl, fixmatch, mean_teacher,
    mixmatch, remixmatch, vat, temporal_ensembling, ict, flexmatch, freematch or softmatch."""
    data: DataConfig = field(default_factory=DataConfig)
    """Where images and labels come from."""
    run: str = ""
    """Name of the run; by default the method and a number."""
    steps: PositiveInt = 600
    """Training steps."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Learning rates after the warm-up: down to 0 along half a cosine, or constant, as in a live session."""
    seed: NonNegativeInt = 0
    """Random seed."""
    labelled: PositiveInt = 32
    """Labelled batch size B, summed over all processes."""
    unlabelled: PositiveInt = 192
    """Unlabelled batch size U, summed over all processes."""
    backbone: str = "tf_efficientnet_lite0"
    """timm model: the one that made the cached views (quick), or the network to train."""
    inputs: Literal["views", "pixels"] = "views"
    """Inputs of the networks: cached views of a frozen backbone, or the pixels of the images."""
    size: PositiveInt = 224
    """Side of the input images in pixels (pixels only)."""
    weights: str = "pretrained"
    """Initial weights of the backbone: pretrained, random, or a file of weights (pixels only)."""
    start: str = ""
    """Finished run whose student both networks start from, such as one of the preset quick (pixels only)."""
    norms: Literal["batch", "frozen"] = "batch"
    """BatchNorm in training: statistics of the batch, or frozen statistics of the initial weights (pixels only)."""
    dropout: Fraction = 0.0
    """Dropout before the last layer (pixels only)."""
    lora_rank: NonNegativeInt = 0
    """Train low-rank adapters of this rank on the attention, and the classifier, instead of all weights; 0 for none
    (pixels only)."""
    magnitude: Annotated[int, Field(ge=0, le=30)] = 9
    """Magnitude of RandAugment in strong views, from 0 to 30 (pixels only)."""
    hidden: NonNegativeInt = 256
    """Hidden units of the teacher's head on cached views; 0 makes it linear."""
    student_hidden: NonNegativeInt = 0
    """Hidden units of the student's head. A linear head exports as a timm model, one with hidden units as ONNX only."""
    teacher_backbone: str = ""
    """timm model of the teacher, if it is not the student's (pixels only)."""
    student: OptimConfig = field(default_factory=OptimConfig)
    """Optimizer of the student."""
    teacher: OptimConfig = field(default_factory=OptimConfig)
    """Optimizer of the teacher."""
    distributions: str = ""
    """Finished run whose student's predictions serve as the fixed teacher (reduced_mpl only)."""
    average: Fraction = 0.99
    """Largest decay of the student's exponential moving average, whose weights predict; 0 keeps no average."""
    finetune_steps: NonNegativeInt = 60
    """Steps of fine-tuning on the labels alone, at the end."""
    finetune_lr: PositiveFloat = 0.003
    """Learning rate of fine-tuning."""
    finetune_labelled: NonNegativeInt = 0
    """Batch size of fine-tuning; 0 for the labelled batch size."""
    classifier: Literal["pooled", "student"] = "student"
    """What the run predicts and exports with: student, the fine-tuned one; or pooled, a calibrated linear classifier in
    which the student is one of several members (cached views only; trains the method once more for each of 5 folds)."""
    live: bool = True
    """Use labels that are given while the run trains (projects only)."""
    validation_share: Fraction = 0.1
    """Share of a project's labels held out for validation_accuracy; every class keeps at least one training label."""
    precision: Literal["no", "bf16"] = "no"
    """Mixed precision of the networks' passes."""
    sharding: Literal["none", "hybrid"] = "none"
    """hybrid: shard the weights over the processes of each node (docs/scale.md)."""
    recompute: bool = False
    """Recompute activations in the backward pass, which saves memory (pixels only)."""
    accumulate: PositiveInt = 1
    """Parts into which a batch is split to save memory; costs one more forward pass (pixels
    only)."""
    trackers: str = ""
    """Experiment trackers, separated by commas: tensorboard, or others that Accelerate supports."""
    record_every: PositiveInt = 1
    """Steps between two entries of the record."""
    record: str = ""
    """Object store that the record is uploaded to, such as s3://bucket/prefix; each run gets a folder there."""
    log_every: PositiveInt = 20
    """Steps between two rows of the metrics."""
    validate_every: PositiveInt = 100
    """Steps between two validations."""
    checkpoint_every: PositiveInt = 200
    """Steps between two checkpoints."""
    checkpoints: PositiveInt = 2
    """How many of the newest checkpoints to keep."""
    workers: NonNegativeInt = 2
    """Processes that decode images, at most one per CPU core (pixels only)."""
    settings: Annotated[FlagConversionOff[Settings], arg(name="")]

    def __post_init__(self) -> None:
        if self.distributions and self.method != "reduced_mpl":
            raise ConfigError(f"--distributions is for --method reduced_mpl, not {self.method}")
        if self.start and (self.inputs == "views" or self.teacher_backbone):
            raise ConfigError(
                "--start makes both networks begin as another run's student: "
                "give --inputs pixels with it, and no --teacher-backbone"
            )
        if self.lora_rank and (self.inputs == "views" or self.sharding != "none"):
            raise ConfigError("--lora-rank is for whole networks on pixels, and not sharded weights")
        if self.inputs == "views":
            self._check_views()
        elif self.classifier == "pooled":
            raise ConfigError("the pooled classifier is fitted to cached views: give --classifier student with pixels")
        odd = self.run.strip() != self.run or self.run.startswith(".") or has_control(self.run)
        if odd or "/" in self.run or "\\" in self.run:
            raise ConfigError(f"run={self.run!r} cannot name a directory: use letters, digits, - and _")

    def _check_views(self) -> None:
        if self.teacher_backbone:
            raise ConfigError("cached views are of one backbone: give --inputs pixels with --teacher-backbone")
        if self.accumulate > 1:
            raise ConfigError("cached views need no chunks, they take little memory: leave --accumulate out")
        if self.data.kind != "project":
            raise ConfigError("cached views belong to a project: import the images into one, or give --inputs pixels")


@dataclasses.dataclass(frozen=True, kw_only=True)  # tyro parses it, and begins without a project
class TrainCommand(Generic[Settings]):
    """Train a classifier on a project's labels and unlabelled images.

    --preset and --method decide the other defaults and which settings a method has: see also --method uda --help.
    """

    project: Annotated[Positional[Path], arg(metavar="PROJECT")]
    """The project's directory."""
    config: Annotated[TrainConfig[Settings], arg(name="")]
    resume: FlagCreatePairsOff[bool] = False
    """Resume a stopped run from its last checkpoint, bit for bit: the newest one, or --run NAME."""
    json: FlagCreatePairsOff[bool] = False
    """Print the result as one line of JSON."""


def method_settings(method: str, **options: Any) -> Any:
    """Returns a method's own settings: its defaults, except for the options.

    Raises:
        ConfigError: there is no such method.
    """
    from gradebook.mpl.methods import METHODS

    if method not in METHODS:
        raise ConfigError(f"there is no method {method!r}: choose one of {', '.join(METHODS)}")
    return METHODS[method].settings(**options)


def differences(one: TrainConfig[Any], other: TrainConfig[Any]) -> list[str]:
    """Returns the settings in which two configs differ, as parts of a sentence: "steps 10, not 20"."""
    names = [f.name for f in fields(one) if getattr(one, f.name) != getattr(other, f.name)]
    return [f"{name} {getattr(one, name)}, not {getattr(other, name)}" for name in names]
