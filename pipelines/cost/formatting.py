"""Prints the plan of `gradebook plan` as a table."""

from typing import Any

from gradebook.pipelines.cost.memory_plan import GIB, Network, Plan

WIDTH = 44  # characters of a row's name


def plan_table(result: Plan) -> str:
    """Returns the plan as a table: networks, memory per device, communication and compute per step."""
    lines = [
        f"{result.preset}: {result.labelled} labelled and {result.unlabelled} unlabelled images of {result.size} px "
        "per device and step",
        f"{result.feedback} feedback, precision {result.precision}"
        + (", activations recomputed" if result.recompute else ""),
        f"{result.devices} devices: {result.nodes} nodes of {result.per_node}, which shard the weights",
        "",
        _row("", "student", "teacher"),
        _row("backbone", result.student.backbone, result.teacher.backbone),
        *_networks(result.student, result.teacher),
        "",
        _row("memory per device", "GiB"),
        *(_memory(name, size) for name, size in result.standing.items()),
    ]
    for phase, parts in result.phases.items():
        lines += [f"  while {phase}:", *(_memory(f"  {name}", size) for name, size in parts.items())]
    lines += [_memory(f"peak (while {result.peak_phase})", result.peak), *_fits(result)]
    return "\n".join(lines)


def _networks(student: Network, teacher: Network) -> list[str]:
    both = (student, teacher)
    return [
        _row("parameters, millions", *(f"{n.parameters / 1e6:.1f}" for n in both)),
        _row("forward passes per step", *(str(n.passes.forward) for n in both)),
        _row("backward passes per step", *(str(n.passes.backward) for n in both)),
        _row("activations per image, MiB", *(f"{n.kept_an_image / 2**20:.1f}" for n in both)),
        _row("weights gathered in a node, GiB per step", *(_gib(n.gathered) for n in both)),
        _row("gradients scattered in a node, GiB per step", *(_gib(n.scattered) for n in both)),
        _row("gradients between nodes, GiB per step", *(_gib(n.across) for n in both)),
        _row("operations, TFLOP per step and device", *(f"{n.operations / 1e12:.4g}" for n in both)),
    ]


def _fits(result: Plan) -> list[str]:
    if result.memory is None:
        return []
    verdict = "which fits" if result.fits else "which does not fit"
    return [f"A device has {result.memory / GIB:.4g} GiB, {verdict}."]


def _row(name: str, *values: Any) -> str:
    return f"{name:<{WIDTH}}" + "".join(f"{value:>22}" for value in values)


def _memory(name: str, size: int) -> str:
    return _row(f"  {name}", _gib(size))


def _gib(size: int) -> str:
    return f"{size / GIB:.3f}"
