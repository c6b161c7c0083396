"""What a step of Meta Pseudo Labels would take on many devices: a dry run on the meta device, and arithmetic.

Weights are shared out inside a node and copied across nodes (`gradebook.mpl.sharding`). Of a step's passes

    teacher   labels the weak view (forward), and learns from the feedback through that very pass (backward); learns
              from labels and strong views (forward, backward)
    student   learns from the strong view (forward, backward); g on the labels (forward, backward); F by differences
              (two forwards)

each gathers the weights of its network for the forward and again for the backward pass; a backward pass hands out
gradients. Not counted: what the communication library, the allocator and the kernels' workspaces take for themselves.

Shape legend    B labelled images    U unlabelled images    S devices that share weights    R nodes
"""

from dataclasses import asdict, dataclass
from typing import Any

from gradebook.pipelines.cost.meta_cost import WEIGHT, Measured, shard_of
from gradebook.pipelines.training.config import ConfigError, TrainConfig

GIB = 2**30
FEEDBACKS = ("difference", "reinforce", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How devices stand together."""

    devices: int
    per_node: int

    @property
    def nodes(self) -> int:
        """R."""
        return self.devices // self.per_node


@dataclass(frozen=True, slots=True, kw_only=True)
class Passes:
    """How often a network does what in a step. Each backward pass hands out gradients once."""

    forward: int
    backward: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One network's part."""

    backbone: str
    parameters: int
    passes: Passes
    gathered: int  # bytes a step that each device is sent of others' weights
    scattered: int  # bytes a step that each device is sent of gradients inside its node
    across: int  # bytes a step that each device is sent of gradients from other nodes
    kept_an_image: int  # bytes that a forward pass keeps for the backward one, for each image
    operations: int  # a step, of one device


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What `gradebook plan` answers. Bytes are those of one device."""

    preset: str
    devices: int
    per_node: int
    nodes: int
    labelled: int  # images a device a step
    unlabelled: int  # images a device a step
    size: int  # pixels
    feedback: str
    recompute: bool
    precision: str
    student: Network
    teacher: Network
    standing: dict[str, int]  # what is there all the time -> bytes
    phases: dict[str, dict[str, int]]  # part of the step -> what it adds -> bytes
    peak_phase: str
    peak: int  # bytes
    memory: int | None  # bytes that a device has, if told
    fits: bool | None

    def as_json(self) -> dict[str, Any]:
        """Returns it as plain data."""
        return asdict(self)


def plan(config: TrainConfig[Any], classes: int, layout: Layout, memory: float | None = None) -> Plan:
    """Plans a step of the config on these devices.

    Args:
        config: of Meta Pseudo Labels on pixels.
        classes: K.
        layout: see `Layout`.
        memory: GiB that a device has.

    Raises:
        ConfigError: the config cannot be planned, or does not divide by the devices.
    """
    from gradebook.pipelines.cost.meta_cost import measure
    from gradebook.pipelines.training.networks import image_classifier, on_meta

    _check(config, layout)
    names = config.backbone, config.teacher_backbone or config.backbone
    half = config.precision == "bf16"
    networks = {}
    for name in dict.fromkeys(names):
        net = on_meta(lambda name=name: image_classifier(name, classes, pretrained=False))  # type: ignore[misc]
        networks[name] = measure(net, config.size, half=half, recompute=config.recompute)
    return laid_out(config, networks[names[0]], networks[names[1]], layout, memory)


def laid_out(
    config: TrainConfig[Any], student: Measured, teacher: Measured, layout: Layout, memory: float | None = None
) -> Plan:
    """Returns the plan for two networks that have been measured; see `plan`."""
    b, u = config.labelled // layout.devices, config.unlabelled // layout.devices
    feedback, again = config.settings.feedback, int(config.recompute)
    twice = _taught_twice(config)
    passes = {"student": _student_passes(feedback), "teacher": Passes(forward=2, backward=1 + twice)}
    images = {"student": _student_images(feedback, b, u, again), "teacher": _teacher_images(twice, b, u, again)}
    standing = _standing(config, student, teacher, layout, images_held=b + 2 * u)
    phases = _phases(config, student, teacher, layout, b, u)
    peak_phase = max(phases, key=lambda name: sum(phases[name].values()))
    peak = sum(standing.values()) + sum(phases[peak_phase].values())
    return Plan(
        preset=config.preset,
        devices=layout.devices,
        per_node=layout.per_node,
        nodes=layout.nodes,
        labelled=b,
        unlabelled=u,
        size=config.size,
        feedback=feedback,
        recompute=config.recompute,
        precision=config.precision,
        student=_network(config.backbone, student, passes["student"], layout, images["student"]),
        teacher=_network(
            config.teacher_backbone or config.backbone, teacher, passes["teacher"], layout, images["teacher"]
        ),
        standing=standing,
        phases=phases,
        peak_phase=peak_phase,
        peak=peak,
        memory=None if memory is None else int(memory * GIB),
        fits=None if memory is None else peak <= memory * GIB,
    )


def _student_passes(feedback: str) -> Passes:
    extra = {"difference": (3, 1), "reinforce": (2, 0), "none": (0, 0)}[feedback]  # forward, backward
    return Passes(forward=1 + extra[0], backward=1 + extra[1])


def _taught_twice(config: TrainConfig[Any]) -> bool:
    """Returns whether the teacher learns from the feedback in a pass of its own, that of the weak view."""
    return bool(config.settings.feedback != "none" and config.settings.view == "weak")


def _student_images(feedback: str, b: int, u: int, again: int) -> int:
    """Returns how many forward passes of one image cost as much as the student's part: a backward pass counts two.

    With `again` a backward pass counts three, since it computes the forward pass once more.
    """
    trained = 3 + again
    extra = {"difference": trained * b + 2 * u, "reinforce": 2 * b, "none": 0}[feedback]
    return trained * u + extra


def _teacher_images(twice: bool, b: int, u: int, again: int) -> int:
    trained = 3 + again
    return trained * (b + u) + (trained * u if twice else u)


def _network(backbone: str, net: Measured, passes: Passes, layout: Layout, images: int) -> Network:
    s, r = layout.per_node, layout.nodes
    from_others = WEIGHT * (s - 1) * gathers(net, passes, s)
    shard = WEIGHT * net.shard(s)
    return Network(
        backbone=backbone,
        parameters=net.parameters,
        passes=passes,
        gathered=from_others,
        scattered=(s - 1) * shard * passes.backward,
        across=2 * (r - 1) * shard * passes.backward // r,
        kept_an_image=net.kept.an_image,
        operations=net.forward * images,
    )


def gathers(net: Measured, passes: Passes, devices: int) -> int:
    """Returns the elements that each device gives to the others in a step."""
    blocks = sum(shard_of(shapes, devices) for shapes in net.blocks)
    return (blocks + shard_of(net.rest, devices)) * (passes.forward + passes.backward)


def _standing(
    config: TrainConfig[Any], student: Measured, teacher: Measured, layout: Layout, *, images_held: int
) -> dict[str, int]:
    mine = {"student": WEIGHT * student.shard(layout.per_node), "teacher": WEIGHT * teacher.shard(layout.per_node)}
    averaged = bool(config.average)
    return {
        "teacher's weights": mine["teacher"],
        "student's weights": mine["student"],
        "averaged weights": mine["student"] * averaged,
        "teacher's momentum": mine["teacher"] * bool(config.teacher.momentum),
        "student's momentum": mine["student"] * bool(config.student.momentum),
        "buffers": teacher.buffers + student.buffers * (1 + averaged),
        "images": images_held * 3 * config.size**2,
    }


def _phases(
    config: TrainConfig[Any], student: Measured, teacher: Measured, layout: Layout, b: int, u: int
) -> dict[str, dict[str, int]]:
    """Returns what each part of the step adds to what stands, at its fullest."""
    s, feedback = layout.per_node, config.settings.feedback
    mine, gathered = WEIGHT * student.shard(s), WEIGHT * student.gathered(s)
    asked = b + u if config.settings.view == "strong" else u if feedback != "none" else 0
    before = {"kept of the teacher's labels": teacher.kept.an_image * asked + teacher.kept.a_pass} if asked else {}
    if feedback != "none":
        before["student's weights before its step"] = mine
    single = 2 if config.precision == "bf16" else 1  # differences are computed in single precision
    phases = {
        "the student learns": {
            **before,
            **_kept(student, u, config.recompute),
            "weights gathered": gathered,
            "gradients": mine + gathered,
        }
    }
    if feedback == "difference":
        phases["the gradient on the labels"] = {
            **before,
            **_kept(student, b, config.recompute),
            "weights gathered": gathered,
            "gradients": mine + gathered,
        }
        phases["the feedback by differences"] = {
            **before,
            "student's weights after its step": mine,
            "gradient on the labels": mine,
            "one block's pass": single * student.largest_block * u,
            "weights gathered": gathered,
        }
    moving = {
        "weights gathered": WEIGHT * teacher.gathered(s),
        "gradients": WEIGHT * teacher.shard(s) + WEIGHT * teacher.gathered(s),
    }
    if _taught_twice(config):
        phases["the teacher learns from the feedback"] = {**_kept(teacher, u, config.recompute), **moving}
    phases["the teacher learns"] = {**_kept(teacher, b + u, config.recompute), **moving}
    return phases


def _kept(net: Measured, images: int, recompute: bool) -> dict[str, int]:
    """Returns what a pass of so many images keeps until its backward pass."""
    kept = {"kept for the backward pass": net.kept.an_image * images + net.kept.a_pass}
    if recompute:
        kept["one block computed again"] = net.largest_block * images
    return kept


def _check(config: TrainConfig[Any], layout: Layout) -> None:
    if config.inputs != "pixels" or config.method != "mpl":
        raise ConfigError(
            f"{config.preset} with {config.method} cannot be planned: only Meta Pseudo Labels on pixels can"
        )
    if config.settings.feedback not in FEEDBACKS:
        raise ConfigError(
            f"{config.settings.feedback} feedback needs whole weights on every device: give --feedback difference"
        )
    if layout.per_node < 1 or layout.devices < 1 or layout.devices % layout.per_node:
        raise ConfigError(f"devices={layout.devices} is not a number of nodes of {layout.per_node}: choose a multiple")
    for name, batch in (("labelled", config.labelled), ("unlabelled", config.unlabelled)):
        if batch % layout.devices:
            raise ConfigError(f"{name}={batch} does not divide by {layout.devices} devices: choose another number")
