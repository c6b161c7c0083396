"""Measures training steps, embedding, and a few minutes of training on CIFAR-10 with 4,000 labels on a GPU.

    python -m benchmarks.gpu --cifar10 CIFAR10

The first table has the images per second of a training step of Meta Pseudo Labels, and how much of the device's speed
it reaches; that speed is measured with one large matrix product in the same precision. The second has the images per
second of frozen backbones. With CIFAR10, a folder with train/CLASS and test/CLASS, the test accuracy after `--minutes`
of training follows. The images of both tables are random and need no decoding. The defaults take at most ten minutes.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from gradebook.pipelines.cost.step_profiler import profile
from gradebook.pipelines.process.errors import exit_with_message
from gradebook.pipelines.process.progress import silence_libraries
from gradebook.pipelines.studies.command_line import footer, machine
from gradebook.pipelines.studies.equal_compute import operations
from gradebook.pipelines.training.config import DataConfig, TrainConfig
from gradebook.pipelines.training.presets import preset_of

NETWORKS = ("wrn_28_2", "resnet50", "vit_small_patch16_224")
BACKBONES = ("tf_efficientnet_lite0", "vit_small_patch16_224")
UNLABELLED = 7  # images per labelled image, as in the paper's settings for CIFAR-10
MEASURE_S = 1.0  # minimum time of the warm-up and of the measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """What to measure."""

    networks: tuple[str, ...] = NETWORKS
    """Architectures; student and teacher have the same one."""
    size: int = 0
    """Side of the images in pixels; 0 takes 32 for Wide ResNets (wrn_*) and 224 for others."""
    labelled: tuple[int, ...] = (128, 64, 64)
    """Labelled images per step for each network. There are seven times as many unlabelled ones."""
    steps: int = 20
    """Steps to measure, after a warm-up."""
    backbones: tuple[str, ...] = BACKBONES
    """Frozen backbones that embed images."""
    images: int = 8192
    """Images to embed."""
    precision: Literal["no", "bf16"] = "bf16"
    """Precision of training steps and embeddings."""
    matrix: int = 8192
    """Rows of the square matrices whose product measures the device's speed."""
    cifar10: Path | None = None
    """Folder with train/CLASS and test/CLASS."""
    preset: str = "cifar10_4k"
    """Preset of the training on CIFAR-10."""
    labels: int = 4000
    """Labelled images of CIFAR-10."""
    minutes: float = 6.0
    """How long to train on CIFAR-10; the number of steps is chosen accordingly."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the tables; returns the exit status."""
    import tyro

    silence_libraries()
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = tyro.cli(Gpu, args=given, prog="python -m benchmarks.gpu", description=__doc__)
    with exit_with_message():
        peak = matrix_speed(options)
        print(f"{machine()}: {peak / 1e12:.3g} TFLOP/s in {options.precision} (one matrix product)\n", flush=True)
        print(_step_table(options, peak), flush=True)
        print(_embedding_table(options), flush=True)
        if options.cifar10 is not None:
            print(_training_row(options, options.cifar10), flush=True)
    print(f"\n{footer('-m benchmarks.gpu', given)}")
    return 0


def matrix_speed(options: Gpu) -> float:
    """Returns the floating-point operations per second of one square matrix product on this device."""
    import torch

    device, kind = _device(), torch.bfloat16 if options.precision == "bf16" else torch.float32
    a, b = (torch.randn(options.matrix, options.matrix, device=device, dtype=kind) for _ in range(2))
    return 2 * options.matrix**3 / _seconds(lambda: a @ b)


def _step_table(options: Gpu, peak: float) -> str:
    lines = ["| step of mpl | images per step | images per second | TFLOP/s | share of the matrix product |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for network, labelled in zip(options.networks, options.labelled, strict=False):
        config = _config(options, network, labelled)
        measured = profile(config, steps=options.steps)
        # Counted for the smallest batch with this ratio: operations are proportional to the number of images.
        count = operations(replace(config, labelled=1, unlabelled=UNLABELLED)) * labelled
        speed = count / measured.seconds
        lines.append(
            f"| {network}, {config.size} px | {labelled * (1 + UNLABELLED)} | {measured.images_per_second:,.0f} | "
            f"{speed / 1e12:.3g} | {speed / peak:.0%} |"
        )
    return "\n".join(lines) + "\n"


def _config(options: Gpu, network: str, labelled: int) -> TrainConfig[Any]:
    size = options.size or (32 if network.startswith("wrn") else 224)
    return replace(
        preset_of("cifar10_4k", "mpl"),
        backbone=network,
        size=size,
        labelled=labelled,
        unlabelled=UNLABELLED * labelled,
        precision=options.precision,
        weights="random",
    )


def _embedding_table(options: Gpu) -> str:
    import torch

    from gradebook.mpl.backbones import create
    from gradebook.mpl.networks import ImageClassifier
    from gradebook.pipelines.embedding.feature_extractor import FeatureExtractor

    lines = ["| embedding | images per second |", "| --- | --- |"]
    for backbone in options.backbones:
        model: Any = create(backbone, weights="random")[0]
        size, normal = options.size or 224, model.pretrained_cfg
        net = ImageClassifier(model, tuple(normal["mean"]), tuple(normal["std"])).eval().to(_device())
        extractor = FeatureExtractor(net, size, model.num_features, images=options.images)
        images = torch.randint(0, 256, (options.images, 3, size, size), dtype=torch.uint8)
        precise = options.precision == "no"
        seconds = _seconds(lambda e=extractor, x=images, p=precise: e(x, precise=p))  # type: ignore[misc]
        lines.append(f"| {backbone}, {size} px | {options.images / seconds:,.0f} |")
    return "\n".join(lines) + "\n"


def _training_row(options: Gpu, images: Path) -> str:
    """Trains for as many steps as the minutes allow, with warm-up and fine-tuning shortened accordingly."""
    from gradebook.pipelines.inference.evaluate import evaluate_beside_data
    from gradebook.pipelines.runs import find_run
    from gradebook.pipelines.training.config import TrainCommand
    from gradebook.pipelines.training.trainer import train
    from gradebook.storage.project import read_project

    preset = preset_of(options.preset, "mpl")
    config = replace(
        preset, data=DataConfig(kind="folder", images=str(images), labels=options.labels), precision=options.precision
    )
    seconds_per_step = profile(config, steps=options.steps).seconds
    steps = max(10, round(60 * options.minutes / seconds_per_step))
    optim = replace(config.student, wait_steps=steps // 100, warmup_steps=steps // 60)
    config = replace(
        config,
        run="gpu",
        steps=steps,
        student=optim,
        teacher=replace(optim, wait_steps=0),
        finetune_steps=min(config.finetune_steps, steps // 10),
        validation_share=0.0,
    )
    with tempfile.TemporaryDirectory() as work:
        start = time.monotonic()
        train(TrainCommand(project=Path(work), config=config))
        minutes = (time.monotonic() - start) / 60
        project = read_project(Path(work))
        accuracy = evaluate_beside_data(project, find_run(project, "gpu")).accuracy
    return (
        f"{options.preset} with {options.labels:,} labels: {100 * accuracy:.2f} % of the test images "
        f"after {steps:,} steps in {minutes:.1f} minutes, start and fine-tuning included"
    )


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _seconds(work: Callable[[], object]) -> float:
    """Returns the mean seconds of a call, from as many as fit into `MEASURE_S`, after an equally long warm-up."""
    import torch

    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    for _ in range(2):
        calls, start = 0, time.perf_counter()
        while not calls or time.perf_counter() - start < MEASURE_S:
            work()
            wait()
            calls += 1
        mean = (time.perf_counter() - start) / calls
    return mean


if __name__ == "__main__":
    sys.exit(main())
