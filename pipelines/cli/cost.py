"""What a training takes here, and would take on many devices."""

from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from gradebook.pipelines.cli.options import Json, answer, app


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

    from gradebook.pipelines.cost.formatting import plan_table
    from gradebook.pipelines.cost.memory_plan import Layout
    from gradebook.pipelines.cost.memory_plan import plan as make_plan
    from gradebook.pipelines.training.presets import preset_of

    config = preset_of(preset, "mpl")
    if feedback is not None:
        config = replace(config, settings=replace(config.settings, feedback=feedback))
    if recompute is not None:
        config = replace(config, recompute=recompute == "yes")
    found = make_plan(config, classes, Layout(devices=devices, per_node=per_node), memory)
    answer(found.as_json(), json, lambda: plan_table(found))


@app.command
def profile(
    *,
    preset: Annotated[str, arg(help="where the settings come from, such as quick or cifar10_4k")] = "quick",
    method: Annotated[str, arg(help="how to learn, such as mpl")] = "mpl",
    backbone: Annotated[str | None, arg(help="another timm model than the preset's")] = None,
    size: Annotated[int | None, arg(help="pixels a side, where not the preset's")] = None,
    labelled: Annotated[int | None, arg(help="labelled images a step, where not the preset's")] = None,
    unlabelled: Annotated[int | None, arg(help="unlabelled images a step, where not the preset's")] = None,
    precision: Annotated[Literal["no", "bf16"] | None, arg(help="of the networks' passes")] = None,
    accumulate: Annotated[int | None, arg(help="parts that a batch goes through in, where not the preset's")] = None,
    device: Annotated[Literal["auto", "cpu"], arg(help="auto: the GPU where there is one")] = "auto",
    steps: Annotated[int, arg(help="to measure, after a warm-up")] = 10,
    json: Json = False,
) -> None:
    """Tell where a training step's time and memory go, on made-up images: no project is needed."""
    from dataclasses import replace

    from gradebook.pipelines.cost.step_profiler import profile as measure
    from gradebook.pipelines.cost.step_profiler import profile_table
    from gradebook.pipelines.training.config import ConfigError
    from gradebook.pipelines.training.presets import preset_of

    if steps < 1:
        raise ConfigError(f"steps={steps} must be above 0")
    told: dict[str, Any] = {
        "backbone": backbone,
        "size": size,
        "labelled": labelled,
        "unlabelled": unlabelled,
        "precision": precision,
        "accumulate": accumulate,
    }
    given = {name: value for name, value in told.items() if value is not None}
    found = measure(replace(preset_of(preset, method), **given), steps=steps, processor=device == "cpu")
    answer(found.as_json(), json, lambda: profile_table(found))
