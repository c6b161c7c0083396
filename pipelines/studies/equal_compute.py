"""Compares methods on pixels at equal compute: each gets the steps that make the floating-point operations equal.

    python pipelines/studies/equal_compute.py CIFAR10 --seeds 0 1 2

CIFAR10 has train/CLASS and test/CLASS. The preset's steps are those of the reference method (`mpl`). A method whose
step takes a tenth of its operations gets ten times the steps, with its schedule stretched. Operations are counted on a
real step, forward-mode products included. Nothing is chosen by the table's figures. Results are saved below `--work`.
"""

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from tyro.conf import Positional, arg

from gradebook.pipelines.process.errors import exit_with_message
from gradebook.pipelines.studies.command_line import footer, read_options
from gradebook.pipelines.studies.method_comparison import as_interval
from gradebook.pipelines.training.config import TrainConfig
from gradebook.pipelines.training.dataset import TrainingSet
from gradebook.pipelines.training.image_loader import ImageArray, ImageLoader
from gradebook.storage.files import write_json


@dataclass(frozen=True, slots=True, kw_only=True)
class EqualCompute:
    """Options of the study."""

    images: Annotated[Positional[Path], arg(help="folder with train/CLASS and test/CLASS")]
    work: Path = Path("equal-compute")
    """Directory for the runs and the results."""
    methods: tuple[str, ...] = ("supervised", "uda", "fixmatch", "mpl:none", "mpl")
    """Methods; mpl:none is Meta Pseudo Labels without feedback."""
    reference: str = "mpl"
    """The method whose compute the others get."""
    labels: int = 0
    """Total number of labels; 0 for the preset's."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Random seeds, of the labels and of training."""
    preset: str = "cifar10_cpu"
    """Preset of all methods."""
    steps: int = 0
    """Steps of the reference method; 0 for the preset's."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit status."""
    import torch

    torch.set_num_threads(1)
    options, given = read_options(EqualCompute, "equal_compute.py", __doc__, arguments)
    with exit_with_message():
        table = {method: [accuracy(options, method, seed) for seed in options.seeds] for method in options.methods}
        print(as_markdown(options, table, given))
    return 0


def accuracy(options: EqualCompute, method: str, seed: int) -> float:
    """Returns the test accuracy of one run, which is trained unless its result is saved already."""
    from gradebook.pipelines.inference.evaluate import evaluate_beside_data
    from gradebook.pipelines.runs import find_run
    from gradebook.pipelines.training.config import TrainCommand
    from gradebook.pipelines.training.trainer import train
    from gradebook.storage.project import read_project

    config = config_of(options, method, seed)
    cached = options.work / f"{config.run}.json"
    if cached.exists():
        return float(json.loads(cached.read_text(encoding="utf-8")))
    shutil.rmtree(options.work / "runs" / config.run, ignore_errors=True)
    train(TrainCommand(project=options.work, config=config))
    project = read_project(options.work)
    result = evaluate_beside_data(project, find_run(project, config.run)).accuracy
    write_json(cached, result)
    return result


def config_of(options: EqualCompute, method: str, seed: int) -> TrainConfig[Any]:
    """Returns the settings of one run, with as many steps as the reference's compute allows."""
    reference = _config(options, options.reference)
    config = _config(options, method)
    stretch = operations(reference) / operations(config)
    student, teacher = (
        replace(optim, warmup_steps=round(optim.warmup_steps * stretch)) for optim in (config.student, config.teacher)
    )
    name = f"{method.replace(':', '-')}-{config.data.labels}-{reference.steps}-seed-{seed}"
    steps = round(reference.steps * stretch)
    return replace(config, run=name, seed=seed, steps=steps, student=student, teacher=teacher)


@lru_cache(maxsize=32)
def operations(config: TrainConfig[Any]) -> int:
    """Returns the floating-point operations of one step in the middle of a run, counted on random images."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from gradebook.mpl.methods import METHODS
    from gradebook.mpl.step import SingleProcess, StepIndex
    from gradebook.pipelines.training import learners

    training_set, source = _random_images(config)
    device = torch.device("cpu")
    networks = learners.build(config, training_set, source, device)
    (batch,) = source.batches([training_set.sampler(config).draw(0)], torch.from_numpy(training_set.labels))
    middle = StepIndex(config.steps // 2, config.steps)
    learners.set_learning_rates(networks, config, middle)
    with FlopCounterMode(display=False) as counter:
        METHODS[config.method].step(networks, batch, SingleProcess(), config.settings, middle)
    return int(counter.get_total_flops())


def _random_images(config: TrainConfig[Any]) -> tuple[TrainingSet, ImageLoader]:
    """Returns a batch's worth of random images of ten classes."""
    import torch

    n = config.labelled + config.unlabelled
    labels = np.full(n, -1)
    labels[: config.labelled] = np.arange(config.labelled) % 10
    training_set = TrainingSet(
        classes=tuple("0123456789"),
        sample_ids=[str(k) for k in range(n)],
        labels=labels,
        labelled=np.flatnonzero(labels >= 0),
        validation=np.zeros(0, np.int64),
        unlabelled=np.flatnonzero(labels < 0),
    )
    pixels = np.random.default_rng(0).integers(0, 256, (n, config.size, config.size, 3)).astype(np.uint8)
    return training_set, ImageLoader(ImageArray(pixels, config.size), workers=0, device=torch.device("cpu"))


def as_markdown(options: EqualCompute, table: dict[str, list[float]], given: Sequence[str]) -> str:
    """Returns the table with all that is needed to make it again."""
    rows = []
    for method, values in table.items():
        config = config_of(options, method, 0)
        total = config.steps * operations(config) / 1e12
        seeds = ", ".join(f"{100 * value:.1f}" for value in values)
        rows.append(f"| {method} | {config.steps} | {total:.1f} | {as_interval(values)} | {seeds} |")
    config = _config(options, options.reference)
    return f"""
{config.data.labels} labels, {config.backbone} at {config.size} px, preset {options.preset}: test accuracy,
mean with its 95 % confidence interval (Student's t) over seeds {", ".join(map(str, options.seeds))}

| method | steps | operations, 10^12 | accuracy, % | seed by seed |
| --- | --- | --- | --- | --- |
{chr(10).join(rows)}

{footer("pipelines/studies/equal_compute.py", given)}
"""


def _config(options: EqualCompute, method: str) -> TrainConfig[Any]:
    """Returns the preset for a method such as mpl:none, on these images."""
    from gradebook.pipelines.training.presets import preset_of

    name, _, feedback = method.partition(":")
    config = preset_of(options.preset, name)
    settings = replace(config.settings, feedback=feedback) if feedback else config.settings
    data = replace(
        config.data, kind="folder", images=str(options.images.resolve()), labels=options.labels or config.data.labels
    )
    return replace(config, data=data, settings=settings, steps=options.steps or config.steps)


if __name__ == "__main__":
    sys.exit(main())
