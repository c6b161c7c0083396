"""The same trainings in single and in half precision: accuracy and time, in turns.

    python -m benchmarks.precision CIFAR10 --methods supervised --backbone wrn_28_2 --steps 1500

CIFAR10 has train/CLASS and test/CLASS. Each seed draws its own labels and trains in both precisions, from the same
weights on the same batches. Prints test accuracy (nothing is chosen by it), CPU-seconds a training, and the difference
that half precision makes, seed by seed, with the 95 % interval of its mean (Student's t). What is done is kept below
`--work`, so that a stopped study goes on.
"""

import json
import resource
import shutil
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from gradebook.pipelines.process.errors import exit_with_message
from gradebook.pipelines.process.progress import silence_libraries
from gradebook.pipelines.studies.method_comparison import as_interval, machine
from gradebook.pipelines.training.config import TrainConfig

Precision = Literal["no", "bf16"]
PRECISIONS: tuple[Precision, Precision] = ("no", "bf16")


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """What to train, and on what."""

    images: Annotated[Positional[Path], arg(help="folder with train/CLASS and test/CLASS")]
    work: Path = Path("precision")
    """Directory for the runs and the results."""
    methods: tuple[str, ...] = ("mpl",)
    """How to learn."""
    preset: str = "cifar10_cpu"
    """The preset of all trainings."""
    backbone: str = ""
    """Network; empty for the preset's."""
    steps: int = 0
    """Of each training; 0 for the preset's."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Each draws its own labels, and everything else random."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a training came to."""

    accuracy: float  # of the test images, a share
    cpu_seconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit status."""
    import torch
    import tyro

    silence_libraries()
    torch.set_num_threads(1)
    given = list(sys.argv[1:] if arguments is None else arguments)
    asked = tyro.cli(Study, args=given, prog="precision.py", description=__doc__)
    with exit_with_message():
        table = {method: studied(asked, method) for method in asked.methods}
        print(as_markdown(asked, table, given))
    return 0


def studied(asked: Study, method: str) -> dict[Precision, list[Outcome]]:
    """Returns the outcomes of a method's trainings, seed by seed; which precision is first alternates."""
    found: dict[Precision, list[Outcome]] = {precision: [] for precision in PRECISIONS}
    for number, seed in enumerate(asked.seeds):
        for precision in PRECISIONS if number % 2 else PRECISIONS[::-1]:
            found[precision].append(outcome(asked, config_of(asked, method, precision, seed)))
    return found


def config_of(asked: Study, method: str, precision: Precision, seed: int) -> TrainConfig[Any]:
    """Returns the settings of one training."""
    from gradebook.pipelines.training.presets import preset_of

    config = preset_of(asked.preset, method)
    config = replace(
        config,
        data=replace(config.data, kind="folder", images=str(asked.images.resolve())),
        backbone=asked.backbone or config.backbone,
        steps=asked.steps or config.steps,
        precision=precision,
        seed=seed,
    )
    return replace(config, run=f"{method}-{config.backbone}-{config.steps}-{precision}-seed-{seed}")


def outcome(asked: Study, config: TrainConfig[Any]) -> Outcome:
    """Returns what one training comes to; trains unless that is kept already."""
    from accelerate.state import AcceleratorState

    from gradebook.pipelines.inference.evaluate import evaluate_beside_data
    from gradebook.pipelines.runs import find_run
    from gradebook.pipelines.training.config import TrainCommand
    from gradebook.pipelines.training.trainer import train
    from gradebook.storage.project import read_project

    kept = asked.work / f"{config.run}.json"
    if kept.exists():
        return Outcome(**json.loads(kept.read_text(encoding="utf-8")))
    shutil.rmtree(asked.work / "runs" / config.run, ignore_errors=True)
    AcceleratorState._reset_state(reset_partial_state=True)  # or it keeps the first training's precision
    before = resource.getrusage(resource.RUSAGE_SELF)
    train(TrainCommand(project=asked.work, config=config))
    after = resource.getrusage(resource.RUSAGE_SELF)
    project = read_project(asked.work)
    accuracy = evaluate_beside_data(project, find_run(project, config.run)).accuracy
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    kept.write_text(json.dumps({"accuracy": accuracy, "cpu_seconds": spent}), encoding="utf-8")
    return Outcome(accuracy, spent)


def as_markdown(asked: Study, table: dict[str, dict[Precision, list[Outcome]]], given: Sequence[str]) -> str:
    """Returns the table with all that one needs to make it again."""
    rows = []
    for method, found in table.items():
        config = config_of(asked, method, "no", 0)
        who = f"| {method} | {config.backbone} | {config.steps} |"
        for precision, outcomes in found.items():
            accuracies = [one.accuracy for one in outcomes]
            cpu = statistics.median(one.cpu_seconds for one in outcomes)
            each = ", ".join(f"{100 * value:.1f}" for value in accuracies)
            rows.append(f"{who} {precision} | {as_interval(accuracies)} | {each} | {cpu:.0f} |")
        gains = [half.accuracy - single.accuracy for half, single in zip(found["bf16"], found["no"], strict=True)]
        each = ", ".join(f"{100 * gain:+.1f}" for gain in gains)
        rows.append(f"{who} difference | {as_interval(gains)} | {each} |  |")
    config = config_of(asked, asked.methods[0], "no", 0)
    return f"""
{config.data.labels} labels, {config.size} px, preset {asked.preset}, seeds {", ".join(map(str, asked.seeds))}

| method | network | steps | precision | accuracy, % | seed by seed | CPU-seconds |
| --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

`python -m benchmarks.precision {" ".join(given)}`, {date.today()}, {machine()}
"""


if __name__ == "__main__":
    sys.exit(main())
