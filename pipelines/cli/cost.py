"""Commands on the cost of training: the time and memory of a step, here or on many devices."""

from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from gradebook.pipelines.cli.options import Json, app, print_result


@app.command
def plan(
    preset: Annotated[Positional[str], arg(metavar="PRESET", help="such as large_l2")],
    *,
    devices: Annotated[int, arg(help="number of devices, over all nodes")],
    per_node: Annotated[int, arg(help="devices of a node, which shard the weights between them")] = 8,
    memory: Annotated[float | None, arg(help="memory of a device, in GiB")] = None,
    classes: Annotated[int, arg(help="number of classes")] = 1000,
    feedback: Annotated[
        Literal["difference", "reinforce", "none"] | None, arg(help="override: how feedback is computed")
    ] = None,
    recompute: Annotated[Literal["yes", "no"] | None, arg(help="override: recompute activations")] = None,
    json: Json = False,
) -> None:
    """Estimate memory, communication and compute on many devices.

    Plans a step of Meta Pseudo Labels by a dry run on the CPU and arithmetic.
    """
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
    result = make_plan(config, classes, Layout(devices=devices, per_node=per_node), memory)
    print_result(result.as_json(), json, lambda: plan_table(result))


@app.command
def profile(
    *,
    preset: Annotated[str, arg(help="the preset to start from, such as quick or cifar10_4k")] = "quick",
    method: Annotated[str, arg(help="training method, such as mpl")] = "mpl",
    backbone: Annotated[str | None, arg(help="override: timm model")] = None,
    size: Annotated[int | None, arg(help="override: image size, in pixels a side")] = None,
    labelled: Annotated[int | None, arg(help="override: labelled images a step")] = None,
    unlabelled: Annotated[int | None, arg(help="override: unlabelled images a step")] = None,
    precision: Annotated[Literal["no", "bf16"] | None, arg(help="override: mixed precision")] = None,
    accumulate: Annotated[int | None, arg(help="override: parts that a batch is split into")] = None,
    device: Annotated[Literal["auto", "cpu"], arg(help="auto uses the GPU if there is one")] = "auto",
    steps: Annotated[int, arg(help="steps to measure, after a warm-up")] = 10,
    json: Json = False,
) -> None:
    """Measure where the time and memory of a training step go.

    Uses random images, so it needs no project.
    """
    from dataclasses import replace

    from gradebook.pipelines.cost.step_profiler import profile as run_profile
    from gradebook.pipelines.cost.step_profiler import profile_table
    from gradebook.pipelines.training.config import ConfigError
    from gradebook.pipelines.training.presets import preset_of

    if steps < 1:
        raise ConfigError(f"steps={steps} must be above 0")
    options: dict[str, Any] = {
        "backbone": backbone,
        "size": size,
        "labelled": labelled,
        "unlabelled": unlabelled,
        "precision": precision,
        "accumulate": accumulate,
    }
    overrides = {name: value for name, value in options.items() if value is not None}
    result = run_profile(replace(preset_of(preset, method), **overrides), steps=steps, cpu=device == "cpu")
    print_result(result.as_json(), json, lambda: profile_table(result))
