"""What a training would take on many devices."""

from typing import Annotated, Literal

from tyro.conf import Positional, arg

from pipelines.commands.shared import Json, answer, app


@app.command
def plan(
    preset: Annotated[Positional[str], arg(metavar="PRESET", help="such as large_l2")],
    *,
    devices: Annotated[int, arg(help="of all nodes together")],
    per_node: Annotated[int, arg(help="devices that share the weights out between them")] = 8,
    memory: Annotated[float | None, arg(help="GiB that a device has")] = None,
    classes: Annotated[int, arg(help="that the networks tell apart")] = 1000,
    feedback: Annotated[
        Literal["difference", "reinforce", "none"] | None, arg(help="another than the preset's")
    ] = None,
    recompute: Annotated[
        Literal["yes", "no"] | None, arg(help="whether blocks are computed again, where not as the preset has it")
    ] = None,
    json: Json = False,
) -> None:
    """Plan a step of Meta Pseudo Labels on many devices without any: memory, communication, computation."""
    from dataclasses import replace

    from pipelines.plan import Layout
    from pipelines.plan import plan as make_plan
    from pipelines.plan_table import plan_table
    from pipelines.presets import preset_of

    config = preset_of(preset, "mpl")
    if feedback is not None:
        config = replace(config, settings=replace(config.settings, feedback=feedback))
    if recompute is not None:
        config = replace(config, recompute=recompute == "yes")
    found = make_plan(config, classes, Layout(devices=devices, per_node=per_node), memory)
    answer(found.as_json(), json, lambda: plan_table(found))
