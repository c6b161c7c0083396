"""Compares the accuracy and time of trainings in single and in half precision.

    python -m benchmarks.precision CIFAR10 --methods supervised --backbone wrn_28_2 --steps 1500

CIFAR10 has train/CLASS and test/CLASS. Each seed draws its own labels and trains in both precisions, from the same
weights on the same batches. Prints test accuracy (nothing is chosen by it), CPU-seconds per training, and the
difference of half to single precision, seed by seed and as a mean with its 95 % confidence interval (Student's t).
Results are saved below `--work`, so an interrupted study continues.
"""

import json
import resource
import shutil
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from gradebook.pipelines.process.errors import exit_with_message
from gradebook.pipelines.process.progress import silence_libraries
from gradebook.pipelines.studies.command_line import footer
from gradebook.pipelines.studies.method_comparison import as_interval
from gradebook.pipelines.training.config import TrainConfig

Precision = Literal["no", "bf16"]
PRECISIONS: tuple[Precision, Precision] = ("no", "bf16")


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """Options of the benchmark."""

    images: Annotated[Positional[Path], arg(help="folder with train/CLASS and test/CLASS")]
    work: Path = Path("precision")
    """Directory for the runs and the results."""
    methods: tuple[str, ...] = ("mpl",)
    """Training methods."""
    preset: str = "cifar10_cpu"
    """Preset of all trainings."""
    backbone: str = ""
    """timm's name of the network; empty for the preset's."""
    steps: int = 0
    """Steps of each training; 0 for the preset's."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Random seeds, of the labels and of training."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a training."""

    accuracy: float  # on the test images, from 0 to 1
    cpu_seconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit status."""
    import torch
    import tyro

    silence_libraries()
    torch.set_num_threads(1)
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = tyro.cli(Study, args=given, prog="python -m benchmarks.precision", description=__doc__)
    with exit_with_message():
        table = {method: run_seeds(options, method) for method in options.methods}
        print(as_markdown(options, table, given))
    return 0


def run_seeds(options: Study, method: str) -> dict[Precision, list[Outcome]]:
    """Returns the results of a method by precision and seed; which precision is trained first alternates."""
    results: dict[Precision, list[Outcome]] = {precision: [] for precision in PRECISIONS}
    for number, seed in enumerate(options.seeds):
        for precision in PRECISIONS if number % 2 else PRECISIONS[::-1]:
            results[precision].append(outcome(options, config_of(options, method, precision, seed)))
    return results


def config_of(options: Study, method: str, precision: Precision, seed: int) -> TrainConfig[Any]:
    """Returns the settings of one training."""
    from gradebook.pipelines.training.presets import preset_of

    config = preset_of(options.preset, method)
    config = replace(
        config,
        data=replace(config.data, kind="folder", images=str(options.images.resolve())),
        backbone=options.backbone or config.backbone,
        steps=options.steps or config.steps,
        precision=precision,
        seed=seed,
    )
    return replace(config, run=f"{method}-{config.backbone}-{config.steps}-{precision}-seed-{seed}")


def outcome(options: Study, config: TrainConfig[Any]) -> Outcome:
    """Returns the result of one training, which is run unless its result is saved already."""
    from accelerate.state import AcceleratorState

    from gradebook.pipelines.inference.evaluate import evaluate_beside_data
    from gradebook.pipelines.runs import find_run
    from gradebook.pipelines.training.config import TrainCommand
    from gradebook.pipelines.training.trainer import train
    from gradebook.storage.project import read_project

    saved = options.work / f"{config.run}.json"
    if saved.exists():
        return Outcome(**json.loads(saved.read_text(encoding="utf-8")))
    shutil.rmtree(options.work / "runs" / config.run, ignore_errors=True)
    AcceleratorState._reset_state(reset_partial_state=True)  # otherwise it keeps the first training's precision
    before = resource.getrusage(resource.RUSAGE_SELF)
    train(TrainCommand(project=options.work, config=config))
    after = resource.getrusage(resource.RUSAGE_SELF)
    project = read_project(options.work)
    accuracy = evaluate_beside_data(project, find_run(project, config.run)).accuracy
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    saved.write_text(json.dumps({"accuracy": accuracy, "cpu_seconds": spent}), encoding="utf-8")
    return Outcome(accuracy, spent)


def as_markdown(options: Study, table: dict[str, dict[Precision, list[Outcome]]], given: Sequence[str]) -> str:
    """Returns the table with all that is needed to make it again."""
    rows = []
    for method, results in table.items():
        config = config_of(options, method, "no", 0)
        prefix = f"| {method} | {config.backbone} | {config.steps} |"
        for precision, outcomes in results.items():
            accuracies = [one.accuracy for one in outcomes]
            cpu = statistics.median(one.cpu_seconds for one in outcomes)
            each = ", ".join(f"{100 * value:.1f}" for value in accuracies)
            rows.append(f"{prefix} {precision} | {as_interval(accuracies)} | {each} | {cpu:.0f} |")
        gains = [half.accuracy - single.accuracy for half, single in zip(results["bf16"], results["no"], strict=True)]
        each = ", ".join(f"{100 * gain:+.1f}" for gain in gains)
        rows.append(f"{prefix} difference | {as_interval(gains)} | {each} |  |")
    config = config_of(options, options.methods[0], "no", 0)
    return f"""
{config.data.labels} labels, {config.size} px, preset {options.preset}, seeds {", ".join(map(str, options.seeds))}

| method | network | steps | precision | accuracy, % | seed by seed | CPU-seconds |
| --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

{footer("-m benchmarks.precision", given)}
"""


if __name__ == "__main__":
    sys.exit(main())
