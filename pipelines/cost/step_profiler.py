"""Measures where the time and memory of a training step go, on random data of the right shape.

Shape legend    N samples    D features
"""

import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gradebook.pipelines.training.cached_views import CachedViews
from gradebook.pipelines.training.config import ConfigError, TrainConfig
from gradebook.pipelines.training.dataset import InputSource, TrainingSet

if TYPE_CHECKING:
    import torch

CLASSES = 10
WARM_UP = 2  # steps before the measured ones
VIEWS, WEAK = 5, 2  # cached views of each sample, and how many of them are weak


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One part of a step."""

    seconds: float  # per step, mean
    share: float  # of the step's time
    kept: int  # bytes saved for the backward pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The cost of a training step on this machine."""

    preset: str
    method: str
    inputs: str
    backbone: str
    size: int
    labelled: int
    unlabelled: int
    precision: str
    device: str
    steps: int  # measured
    seconds: float  # per step, mean
    images_per_second: float
    memory: int  # peak bytes: of tensors on a GPU, or of this process above its memory before the first step
    phases: dict[str, Phase]  # longest first

    def as_json(self) -> dict[str, Any]:
        """Returns the profile as plain data."""
        return asdict(self)


def profile(config: TrainConfig[Any], *, steps: int, cpu: bool = False) -> Profile:
    """Runs a few steps and measures them.

    Args:
        config: of the training; its data are replaced by random data.
        steps: number of measured steps, after a warm-up.
        cpu: use the CPU even if there is a GPU.

    Raises:
        ConfigError: the settings cannot be combined.
    """
    from accelerate import Accelerator

    from gradebook.pipelines.training.cpu_setup import prepare_process

    if config.distributions:
        raise ConfigError("a step that needs another run's distributions cannot be profiled: leave --distributions out")
    config = replace(config, weights="random", steps=max(config.steps, WARM_UP + steps + 1))
    accelerator = Accelerator(mixed_precision=config.precision, cpu=cpu)
    prepare_process(accelerator.device, config.inputs)
    measured = _measure(config, accelerator, steps)
    return Profile(
        preset=config.preset,
        method=config.method,
        inputs=config.inputs,
        backbone=config.backbone,
        size=config.size if config.inputs == "pixels" else 0,
        labelled=config.labelled,
        unlabelled=config.unlabelled,
        precision=config.precision,
        device=_device_name(accelerator.device),
        steps=steps,
        seconds=measured.seconds,
        images_per_second=(config.labelled + config.unlabelled) / measured.seconds,
        memory=measured.memory,
        phases=measured.phases,
    )


@dataclass(frozen=True, slots=True)
class _Measured:
    """Measurements of one profile; see the fields of `Profile`."""

    seconds: float
    memory: int
    phases: dict[str, Phase]


def _measure(config: TrainConfig[Any], accelerator: Any, steps: int) -> _Measured:
    from gradebook.mpl.step_timer import StepTimer, running, saved_bytes

    device = accelerator.device
    stopwatch = StepTimer(device)
    with tempfile.TemporaryDirectory() as directory, running(stopwatch):
        step = _steps(config, accelerator, Path(directory))
        before = _resident(device)
        for _ in range(WARM_UP):
            next(step)
        stopwatch.seconds()
        began = time.perf_counter()
        for _ in range(steps):
            next(step)
        seconds = stopwatch.seconds()
        wall = (time.perf_counter() - began) / steps
        memory = _peak(device) - before
        with saved_bytes(stopwatch) as kept:
            next(step)
        step.close()
    total = sum(seconds.values())
    phases = {
        name: Phase(seconds=spent / steps, share=spent / total, kept=kept.get(name, 0))
        for name, spent in seconds.items()
    }
    return _Measured(seconds=wall, memory=memory, phases=phases)


def profile_table(result: Profile) -> str:
    """Returns the profile as a table, one line for each phase."""
    images = f"{result.labelled} labelled and {result.unlabelled} unlabelled images"
    of = f" of {result.size} px" if result.size else "' cached views"
    lines = [
        f"{result.method} with {result.backbone}, {images}{of} per step, precision {result.precision}, {result.device}",
        "",
        f"{'phase':<28}{'ms per step':>12}{'share':>9}{'saved, MB':>12}",
    ]
    for name, phase in result.phases.items():
        kept = f"{phase.kept / 1e6:.1f}" if phase.kept else ""
        lines.append(f"{name:<28}{1000 * phase.seconds:>12.1f}{phase.share:>9.1%}{kept:>12}".rstrip())
    lines += [
        f"{'whole step':<28}{1000 * result.seconds:>12.1f}",
        "",
        f"{result.images_per_second:,.0f} images per second; peak memory {result.memory / 1e6:,.0f} MB",
        "saved: activations for the backward pass. The images are random; decoding is not measured.",
    ]
    return "\n".join(lines)


def _steps(config: TrainConfig[Any], accelerator: Any, directory: Path) -> Generator[None, None, None]:
    """Runs one training step for each item that is requested."""
    from gradebook.mpl.step_timer import phase
    from gradebook.pipelines.training import evaluation, learners
    from gradebook.pipelines.training.recorder import Recorder

    training_set = _training_set(config)
    source = _source(config, training_set, accelerator.device)
    networks = learners.build(config, training_set, source, accelerator.device)
    sampler = training_set.sampler(config)
    labels = _labels(training_set, accelerator.device)
    batches = source.batches((sampler.draw(at) for at in range(config.steps)), labels)
    with _recorder(Recorder(directory, training_set.classes, training_set.sample_ids)) as recorder:
        for at in range(config.steps):
            with phase("data"):
                batch = next(batches)
            report = learners.train_step(networks, batch, accelerator, config, at, accelerator)
            with phase("record"):
                if (at + 1) % config.record_every == 0 and len(batch.id_u):
                    recorder.put(
                        at + 1, batch.id_u, report.predictions or evaluation.student_predictions(networks, batch.x_uw)
                    )
            yield


@contextmanager
def _recorder(recorder: Any) -> Iterator[Any]:
    try:
        yield recorder
    finally:
        recorder.close()


def _training_set(config: TrainConfig[Any]) -> TrainingSet:
    count = max(1000, 2 * (config.labelled + config.unlabelled))
    labels = np.where(np.arange(count) < count // 4, np.arange(count) % CLASSES, -1)
    return TrainingSet(
        classes=tuple(f"class {k}" for k in range(CLASSES)),
        sample_ids=[f"{k:032x}" for k in range(count)],
        labels=labels,
        labelled=np.flatnonzero(labels >= 0),
        validation=np.array([], np.int64),
        unlabelled=np.flatnonzero(labels < 0),
    )


def _source(config: TrainConfig[Any], training_set: TrainingSet, device: "torch.device") -> InputSource:
    import torch

    count, random = len(training_set.sample_ids), np.random.default_rng(config.seed)
    if config.inputs == "views":
        from gradebook.mpl.backbones import create
        from gradebook.mpl.pretrained_weights import BackboneError

        try:
            backbone: Any = create(config.backbone, weights="random")[0]
        except BackboneError as error:
            raise ConfigError(str(error)) from error
        views = random.standard_normal((count, VIEWS, backbone.num_features), np.float32).astype(np.float16)
        return CachedViews(torch.from_numpy(views).to(device), WEAK)
    from gradebook.pipelines.training.image_loader import ImageArray, ImageLoader

    pixels = random.integers(0, 256, (count, config.size, config.size, 3), np.uint8)
    images = ImageArray(pixels, config.size)
    return ImageLoader(images, workers=config.workers, device=device, magnitude=config.magnitude)


def _labels(training_set: TrainingSet, device: "torch.device") -> "torch.Tensor":
    import torch

    return torch.from_numpy(training_set.labels).to(device)


def _device_name(device: "torch.device") -> str:
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{torch.get_num_threads()} CPU threads"


def _resident(device: "torch.device") -> int:
    """Returns the bytes in use: 0 on a GPU, whose peak it resets, else the memory of this process."""
    import torch

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return 0
    import psutil

    return int(psutil.Process().memory_info().rss)


def _peak(device: "torch.device") -> int:
    import torch

    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    import resource
    import sys

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
