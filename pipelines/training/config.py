"""What a training can be told. A config is data: checked here, saved whole beside the run, and the flags' source."""

from dataclasses import asdict, dataclass, field, fields
from typing import Annotated, Any, Generic, Literal, TypeVar

from tyro.conf import FlagConversionOff, arg

from gradebook.storage.project import ProjectError

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
class DataConfig:
    """Where images and labels come from."""

    kind: Literal["project", "folder", "cifar10", "svhn"] = "project"
    """A project; or, without a catalogue, a folder with train/CLASS and test/CLASS, or a torchvision data set."""
    images: str = ""
    """Directory of the data; without one, `data` beside the runs (not with project)."""
    labels: int = 4000
    """Training images whose label the run is shown, drawn evenly over the classes; 0 for all (not with project)."""
    label_list: str = ""
    """File that names those images instead, one a line (not with project)."""
    validation: int = 0
    """Training images that take no part but in validation_accuracy (not with project)."""
    pool: str = ""
    """More images without labels: a folder, or a table with a column filepath (folder only)."""

    def __post_init__(self) -> None:
        _not_negative(labels=self.labels, validation=self.validation)
        if self.pool and self.kind != "folder":
            raise ConfigError("a pool goes with --data.kind folder: import further images into a project instead")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig(Generic[Settings]):
    """Every setting of a run."""

    preset: str = "quick"
    """Where the other settings' defaults come from: quick (heads on cached views), finetune (networks on pixels), or an
    experiment's of the paper."""
    method: str = "mpl"
    """How to learn: supervised, pseudo_label, noisy_student, uda, mpl, reduced_mpl, fixmatch, mean_teacher, mixmatch,
    remixmatch, vat, temporal_ensembling, ict, flexmatch, freematch or softmatch."""
    data: DataConfig = field(default_factory=DataConfig)
    """Where images and labels come from."""
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
    start: str = ""
    """Run whose finished student both networks start as instead, such as one of the preset quick (pixels only)."""
    norms: Literal["batch", "frozen"] = "batch"
    """BatchNorm in training: by the batch's statistics, or by those that the weights came with (pixels only)."""
    dropout: float = 0.0
    """Before the last layer of networks on pixels."""
    lora_rank: int = 0
    """Train low-rank adapters of this rank on the attention, and the classifier, instead of all weights; 0 for none
    (pixels only)."""
    magnitude: int = 9
    """Of RandAugment in strong views, from 0 to 30 (pixels only)."""
    hidden: int = 256
    """Hidden units of the teacher's head on cached views; 0 makes it linear."""
    student_hidden: int = 0
    """The same of the student's. A linear one exports as a timm model of its own, one with hidden units as ONNX."""
    teacher_backbone: str = ""
    """The teacher's timm model where it is another one than the student's (pixels only)."""
    student: OptimConfig = field(default_factory=OptimConfig)
    """How the student moves."""
    teacher: OptimConfig = field(default_factory=OptimConfig)
    """How the teacher moves."""
    distributions: str = ""
    """Run whose finished student is the fixed teacher, by what it said of each image (reduced_mpl only)."""
    average: float = 0.99
    """Largest decay of the student's averaged weights, which are the ones that predict; 0 keeps no average."""
    finetune_steps: int = 60
    """Steps on the labels alone that the averaged student gets at the end."""
    finetune_lr: float = 0.003
    """Learning rate of those steps."""
    finetune_labelled: int = 0
    """Labelled images in each of those steps; 0 for as many as before."""
    live: bool = True
    """Take in the labels that people give while it trains (projects only)."""
    validation_share: float = 0.1
    """Share of a project's labels held out, for validation_accuracy alone; every class keeps at least one label."""
    precision: Literal["no", "bf16"] = "no"
    """Half precision for the networks' passes."""
    sharding: Literal["none", "hybrid"] = "none"
    """hybrid: the processes of a node share the weights out between them (docs/scale.md)."""
    recompute: bool = False
    """Keep less for the backward pass and compute it again (pixels only)."""
    accumulate: int = 1
    """Parts that a batch goes through the networks in, one at a time: a part's memory for one more forward pass (pixels
    only)."""
    trackers: str = ""
    """Tell the metrics to these too: tensorboard, and other trackers of Accelerate by name, with commas between."""
    record_every: int = 1
    """Steps between two entries of the record."""
    record: str = ""
    """Where the record is sent as well, such as s3://bucket/prefix; each run gets a folder there."""
    log_every: int = 20
    """Steps between two rows of the metrics."""
    validate_every: int = 100
    """Steps between two looks at the validation labels."""
    checkpoint_every: int = 200
    """Steps between two checkpoints."""
    checkpoints: int = 2
    """Checkpoints to keep, the newest ones."""
    workers: int = 2
    """Processes that decode images (pixels only), but no more than there are processor cores."""
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
            checkpoints=self.checkpoints,
            accumulate=self.accumulate,
        )
        if self.distributions and self.method != "reduced_mpl":
            raise ConfigError(f"distributions of another run go with --method reduced_mpl, not {self.method}")
        if self.teacher_backbone and self.inputs == "views":
            raise ConfigError("cached views are of one backbone: give --inputs pixels with --teacher-backbone")
        _not_negative(
            hidden=self.hidden,
            student_hidden=self.student_hidden,
            seed=self.seed,
            finetune_steps=self.finetune_steps,
            finetune_labelled=self.finetune_labelled,
            lora_rank=self.lora_rank,
            workers=self.workers,
        )
        if self.start and (self.inputs == "views" or self.teacher_backbone):
            raise ConfigError(
                "--start makes both networks begin as another run's student: "
                "give --inputs pixels with it, and no --teacher-backbone"
            )
        if self.lora_rank and (self.inputs == "views" or self.sharding != "none"):
            raise ConfigError("--lora-rank is for whole networks on pixels, and not sharded weights")
        if self.accumulate > 1 and self.inputs == "views":
            raise ConfigError("cached views need no parts: their graph is small; leave --accumulate out")
        if self.data.kind != "project" and self.inputs == "views":
            raise ConfigError("cached views belong to a project: import the images into one, or give --inputs pixels")
        if not 0 <= self.dropout < 1 or not 0 <= self.magnitude <= 30:
            raise ConfigError(
                f"dropout={self.dropout} must be from 0 to below 1, and magnitude={self.magnitude} from 0 to 30"
            )
        if not 0 <= self.average < 1 or not 0 <= self.validation_share < 1:
            raise ConfigError(
                f"average={self.average} and validation_share={self.validation_share} must be from 0 to below 1"
            )
        if self.run != self.run.strip() or any(c in self.run for c in "/\\\0") or self.run.startswith("."):
            raise ConfigError(f"run={self.run!r} cannot name a directory: use letters, digits, - and _")


def method_settings(method: str, **told: Any) -> Any:
    """Returns a method's own settings, its defaults but for what is told.

    Raises:
        ConfigError: there is no such method.
    """
    from gradebook.mpl.methods import METHODS

    if method not in METHODS:
        raise ConfigError(f"there is no method {method!r}: choose one of {', '.join(METHODS)}")
    return METHODS[method].settings(**told)


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
