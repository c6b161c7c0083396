"""What `gradebook plan` prints for people."""

from typing import Any

from gradebook.pipelines.cost.memory_plan import GIB, Network, Plan

WIDTH = 44  # characters of a row's name


def plan_table(found: Plan) -> str:
    """Returns the plan as a table: networks, memory a device, communication and computation a step."""
    lines = [
        f"{found.preset}: {found.labelled} labelled and {found.unlabelled} unlabelled images of {found.size} px "
        f"a device and step, {found.feedback} feedback, precision {found.precision}"
        + (", blocks computed again for the backward pass" if found.recompute else ""),
        f"{found.devices} devices: {found.nodes} nodes of {found.per_node}, which share the weights out",
        "",
        _row("", "student", "teacher"),
        _row("backbone", found.student.backbone, found.teacher.backbone),
        *_networks(found.student, found.teacher),
        "",
        _row("memory a device", "GiB"),
        *(_memory(name, size) for name, size in found.standing.items()),
    ]
    for phase, parts in found.phases.items():
        lines += [f"  while {phase}:", *(_memory(f"  {name}", size) for name, size in parts.items())]
    lines += [_memory(f"at most (while {found.peak_phase})", found.peak), *_fits(found)]
    return "\n".join(lines)


def _networks(student: Network, teacher: Network) -> list[str]:
    both = (student, teacher)
    return [
        _row("parameters, millions", *(f"{n.parameters / 1e6:.1f}" for n in both)),
        _row("forward passes a step", *(str(n.passes.forward) for n in both)),
        _row("backward passes a step", *(str(n.passes.backward) for n in both)),
        _row("kept by a pass an image, MiB", *(f"{n.kept_an_image / 2**20:.1f}" for n in both)),
        _row("weights gathered in the node, GiB a step", *(_gib(n.gathered) for n in both)),
        _row("gradients handed out in the node, GiB a step", *(_gib(n.scattered) for n in both)),
        _row("gradients between nodes, GiB a step", *(_gib(n.across) for n in both)),
        _row("operations, TFLOP a step and device", *(f"{n.operations / 1e12:.4g}" for n in both)),
    ]


def _fits(found: Plan) -> list[str]:
    if found.memory is None:
        return []
    verdict = "which fits" if found.fits else "which does not fit"
    return [f"A device has {found.memory / GIB:.4g} GiB, {verdict}."]


def _row(name: str, *values: Any) -> str:
    return f"{name:<{WIDTH}}" + "".join(f"{value:>22}" for value in values)


def _memory(name: str, size: int) -> str:
    return _row(f"  {name}", _gib(size))


def _gib(size: int) -> str:
    return f"{size / GIB:.3f}"
