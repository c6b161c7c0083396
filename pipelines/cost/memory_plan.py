"""A plan of a step of Meta Pseudo Labels on many devices: a dry run on the meta device, and arithmetic.

Weights are sharded inside a node and replicated across nodes (`gradebook.mpl.sharding`). The passes of a step are

    teacher   labels the weak view (forward) and learns from the feedback through the same pass (backward); learns
              from labels and strong views (forward, backward)
    student   learns from the strong view (forward, backward); g on the labels (forward, backward); F by differences
              (two forwards)

Each forward and each backward pass gathers the weights, and a backward pass scatters gradients. Memory of the
communication library, the allocator and the kernels' workspaces is not counted.

Shape legend    B labelled images    U unlabelled images    S devices that shard the weights    R nodes
"""

from dataclasses import asdict, dataclass
from typing import Any

from gradebook.pipelines.cost.meta_cost import WEIGHT, NetworkCost, shard_of
from gradebook.pipelines.training.config import ConfigError, TrainConfig

GIB = 2**30
FEEDBACKS = ("difference", "reinforce", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The devices and their nodes."""

    devices: int
    per_node: int

    @property
    def nodes(self) -> int:
        """R."""
        return self.devices // self.per_node


@dataclass(frozen=True, slots=True, kw_only=True)
class Passes:
    """The numbers of forward and backward passes of a network in a step."""

    forward: int
    backward: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One network's part of a step."""

    backbone: str
    parameters: int
    passes: Passes
    gathered: int  # bytes of weights that each device receives per step
    scattered: int  # bytes of gradients that each device receives per step within its node
    across: int  # bytes of gradients that each device receives per step from other nodes
    kept_an_image: int  # bytes per image that a forward pass saves for the backward pass
    operations: int  # floating-point operations per step and device


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The result of `gradebook plan`. Bytes are those of one device."""

    preset: str
    devices: int
    per_node: int
    nodes: int
    labelled: int  # images per device and step
    unlabelled: int  # images per device and step
    size: int  # pixels
    feedback: str
    recompute: bool
    precision: str
    student: Network
    teacher: Network
    standing: dict[str, int]  # item that is in memory during the whole step -> bytes
    phases: dict[str, dict[str, int]]  # phase of the step -> item that is also in memory -> bytes
    peak_phase: str
    peak: int  # bytes
    memory: int | None  # bytes of a device, if given
    fits: bool | None

    def as_json(self) -> dict[str, Any]:
        """Returns the plan as plain data."""
        return asdict(self)


def plan(config: TrainConfig[Any], classes: int, layout: Layout, memory: float | None = None) -> Plan:
    """Plans a step of the config on these devices.

    Args:
        config: of Meta Pseudo Labels on pixels.
        classes: K.
        layout: see `Layout`.
        memory: GiB of a device.

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
        net = on_meta(lambda name=name: image_classifier(name, classes, size=config.size, weights="random"))  # type: ignore[misc]
        networks[name] = measure(net, config.size, half=half, recompute=config.recompute)
    return plan_step(config, networks[names[0]], networks[names[1]], layout, memory)


def plan_step(
    config: TrainConfig[Any], student: NetworkCost, teacher: NetworkCost, layout: Layout, memory: float | None = None
) -> Plan:
    """Returns the plan for two measured networks; see `plan`."""
    b, u = config.labelled // layout.devices, config.unlabelled // layout.devices
    held = _held(config, student, teacher, layout, images_held=b + 2 * u)
    phases = _phases(config, student, teacher, layout, b, u)
    peak_phase = max(phases, key=lambda name: sum(phases[name].values()))
    peak = sum(held.values()) + sum(phases[peak_phase].values())
    return Plan(
        preset=config.preset,
        devices=layout.devices,
        per_node=layout.per_node,
        nodes=layout.nodes,
        labelled=b,
        unlabelled=u,
        size=config.size,
        feedback=config.settings.feedback,
        recompute=config.recompute,
        precision=config.precision,
        student=_student(config, student, layout, b, u),
        teacher=_teacher(config, teacher, layout, b, u),
        standing=held,
        phases=phases,
        peak_phase=peak_phase,
        peak=peak,
        memory=None if memory is None else int(memory * GIB),
        fits=None if memory is None else peak <= memory * GIB,
    )


def _student(config: TrainConfig[Any], net: NetworkCost, layout: Layout, b: int, u: int) -> Network:
    feedback = config.settings.feedback
    images = _student_images(feedback, b, u, int(config.recompute))
    return _network(config.backbone, net, _student_passes(feedback), layout, images)


def _teacher(config: TrainConfig[Any], net: NetworkCost, layout: Layout, b: int, u: int) -> Network:
    feedback_pass = _has_feedback_pass(config)
    passes = Passes(forward=2, backward=1 + feedback_pass)
    images = _teacher_images(feedback_pass, b, u, int(config.recompute))
    return _network(config.teacher_backbone or config.backbone, net, passes, layout, images)


def _student_passes(feedback: str) -> Passes:
    extra = {"difference": (3, 1), "reinforce": (2, 0), "none": (0, 0)}[feedback]  # forward, backward
    return Passes(forward=1 + extra[0], backward=1 + extra[1])


def _has_feedback_pass(config: TrainConfig[Any]) -> bool:
    """Returns whether the teacher's feedback loss has its own pass, of the weak view."""
    return bool(config.settings.feedback != "none" and config.settings.view == "weak")


def _student_images(feedback: str, b: int, u: int, recompute: int) -> int:
    """Returns the student's cost in forward passes of one image.

    A backward pass counts as two forward passes, or three if `recompute` is 1, because it runs the forward pass again.
    """
    trained = 3 + recompute
    extra = {"difference": trained * b + 2 * u, "reinforce": 2 * b, "none": 0}[feedback]
    return trained * u + extra


def _teacher_images(feedback_pass: bool, b: int, u: int, recompute: int) -> int:
    trained = 3 + recompute
    return trained * (b + u) + (trained * u if feedback_pass else u)


def _network(backbone: str, net: NetworkCost, passes: Passes, layout: Layout, images: int) -> Network:
    s, r = layout.per_node, layout.nodes
    from_others = WEIGHT * (s - 1) * gathered_elements(net, passes, s)
    shard = WEIGHT * net.shard(s)
    return Network(
        backbone=backbone,
        parameters=net.parameters,
        passes=passes,
        gathered=from_others,
        scattered=(s - 1) * shard * passes.backward,
        across=2 * (r - 1) * shard * passes.backward // r,
        kept_an_image=net.activations.per_image,
        operations=net.forward * images,
    )


def gathered_elements(net: NetworkCost, passes: Passes, devices: int) -> int:
    """Returns the elements that each device sends to the others in a step."""
    blocks = sum(shard_of(shapes, devices) for shapes in net.blocks)
    return (blocks + shard_of(net.rest, devices)) * (passes.forward + passes.backward)


def _held(
    config: TrainConfig[Any], student: NetworkCost, teacher: NetworkCost, layout: Layout, *, images_held: int
) -> dict[str, int]:
    shard = {"student": WEIGHT * student.shard(layout.per_node), "teacher": WEIGHT * teacher.shard(layout.per_node)}
    averaged = bool(config.average)
    return {
        "teacher's weights": shard["teacher"],
        "student's weights": shard["student"],
        "averaged weights": shard["student"] * averaged,
        "teacher's momentum": shard["teacher"] * bool(config.teacher.momentum),
        "student's momentum": shard["student"] * bool(config.student.momentum),
        "buffers": teacher.buffers + student.buffers * (1 + averaged),
        "images": images_held * 3 * config.size**2,
    }


def _phases(
    config: TrainConfig[Any], student: NetworkCost, teacher: NetworkCost, layout: Layout, b: int, u: int
) -> dict[str, dict[str, int]]:
    """Returns the memory of each phase of the step, without what is in memory during the whole step."""
    feedback = config.settings.feedback
    pseudo_labelled = b + u if config.settings.view == "strong" else u if feedback != "none" else 0
    before = {}  # in memory during the phases of the student as well
    if pseudo_labelled:
        teacher_pass = teacher.activations.per_image * pseudo_labelled + teacher.activations.per_pass
        before["kept of the teacher's labels"] = teacher_pass
    if feedback != "none":
        before["student's weights before its step"] = WEIGHT * student.shard(layout.per_node)
    student_phases = _student_phases(config, student, layout, b, u)
    phases = {name: before | memory for name, memory in student_phases.items()}
    return phases | _teacher_phases(config, teacher, layout, b, u)


def _student_phases(
    config: TrainConfig[Any], student: NetworkCost, layout: Layout, b: int, u: int
) -> dict[str, dict[str, int]]:
    shard, gathered = WEIGHT * student.shard(layout.per_node), WEIGHT * student.gathered(layout.per_node)
    backward = {"weights gathered": gathered, "gradients": shard + gathered}
    phases = {"the student learns": {**_activations(student, u, config.recompute), **backward}}
    if config.settings.feedback == "difference":
        phases["the gradient on the labels"] = {**_activations(student, b, config.recompute), **backward}
        widening = 2 if config.precision == "bf16" else 1  # differences are computed in float32
        phases["the feedback by differences"] = {
            "student's weights after its step": shard,
            "gradient on the labels": shard,
            "one block's pass": widening * student.largest_block * u,
            "weights gathered": gathered,
        }
    return phases


def _teacher_phases(
    config: TrainConfig[Any], teacher: NetworkCost, layout: Layout, b: int, u: int
) -> dict[str, dict[str, int]]:
    shard, gathered = WEIGHT * teacher.shard(layout.per_node), WEIGHT * teacher.gathered(layout.per_node)
    backward = {"weights gathered": gathered, "gradients": shard + gathered}
    phases = {}
    if _has_feedback_pass(config):
        phases["the teacher learns from the feedback"] = {**_activations(teacher, u, config.recompute), **backward}
    phases["the teacher learns"] = {**_activations(teacher, b + u, config.recompute), **backward}
    return phases


def _activations(net: NetworkCost, images: int, recompute: bool) -> dict[str, int]:
    """Returns the memory that a forward pass saves for its backward pass."""
    activations = {"kept for the backward pass": net.activations.per_image * images + net.activations.per_pass}
    if recompute:
        activations["one block computed again"] = net.largest_block * images
    return activations


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
