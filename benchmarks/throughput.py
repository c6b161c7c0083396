"""Compares import, embedding and prediction with their lower bounds: decoding the files, or only the network.

    python -m benchmarks.throughput --images 200 --rounds 3

Images are synthetic photographs (JPEG, 640 by 480 pixels) unless a folder is given. Each job and its bound take turns.
The last column is the bound's share of the job's CPU-seconds (medians over the rounds): 100 % would be a job without
any overhead. Images per second cannot be compared between machines. An embedding of fewer than 200 images starts no
workers.
"""

import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from gradebook.pipelines.studies.command_line import footer

BACKBONE = "tf_efficientnet_lite0"
CLASSES = ("this", "that")


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """Options of the benchmark."""

    folder: Path | None = None
    """Folder with images to use instead of synthetic photographs."""
    images: int = 200
    """Number of synthetic photographs."""
    views: int = 5
    """Views per image in the embedding."""
    size: int = 224
    """Height and width of the network's input, in pixels."""
    rounds: int = 3
    """Number of rounds."""


Costs = dict[str, list[tuple[float, float]]]  # job or bound -> (CPU-seconds, wall seconds) of each round


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit status."""
    import tyro

    from gradebook.pipelines.process.progress import silence_libraries

    silence_libraries()
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = tyro.cli(Throughput, args=given, prog="python -m benchmarks.throughput", description=__doc__)
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        folder = options.folder or photographs(work / "images", options.images)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        calls = _jobs_and_bounds(options, folder, files, work)
        costs: Costs = {name: [] for name in calls}
        for _ in range(options.rounds):
            for name, call in calls.items():
                costs[name].append(_cost(call))
    print(as_markdown(costs, len(files), given))
    return 0


def as_markdown(costs: Costs, images: int, given: Sequence[str]) -> str:
    """Returns the table of jobs and their bounds."""
    rows = []
    for job, bound in (("import", "decoding"), ("embed", "network"), ("predict", "decoding and network")):
        (cpu, wall), (bound_cpu, _) = (
            tuple(statistics.median(part) for part in zip(*costs[name], strict=True))
            for name in (job, f"{job}: {bound}")
        )
        rows.append(f"| {job} | {images / wall:,.0f} | {1000 * cpu / images:.1f} | {bound} | {bound_cpu / cpu:.0%} |")
    return f"""
| job | images per second | CPU-ms per image | bound | its share |
| --- | --- | --- | --- | --- |
{chr(10).join(rows)}

{footer("-m benchmarks.throughput", given)}
"""


def _jobs_and_bounds(
    options: Throughput, folder: Path, files: list[Path], work: Path
) -> dict[str, Callable[[], object]]:
    """Returns each job and its bound, in the order of their turns."""
    from gradebook.pipelines.embedding.embed import embed
    from gradebook.pipelines.importing.image_reader import SIZE
    from gradebook.pipelines.importing.import_images import import_images
    from gradebook.pipelines.inference.predict import predict
    from gradebook.storage.project import create_project
    from gradebook.storage.store import open_store

    exported = _classifier(work, folder, options.size)
    project = work / "again"

    def imported() -> object:
        shutil.rmtree(project, ignore_errors=True)
        return import_images(open_store(create_project(project, CLASSES).root), folder)

    return {
        "import: decoding": lambda: _decode_all(files, SIZE),
        "import": imported,
        "embed: network": lambda: _embed_random_images(len(files), options),
        "embed": lambda: embed(open_store(project), size=options.size, views=options.views),
        "predict: decoding and network": lambda: _decode_and_predict(exported, files, options.size),
        "predict": lambda: list(predict(exported, [folder], broken=lambda sentence: None)),
    }


def photographs(folder: Path, count: int, *, width: int = 640, height: int = 480) -> Path:
    """Writes synthetic photographs that take as long to decode as real ones: smooth shapes with fine grain."""
    from PIL import Image

    random = np.random.default_rng(0)
    folder.mkdir()
    for n in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (12, 16, 3), np.uint8)).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        grain = random.normal(0, 6, (height, width, 1))
        pixels = np.clip(np.asarray(coarse) + grain, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{n:05d}.jpg", quality=90)
    return folder


def _classifier(directory: Path, folder: Path, size: int) -> Path:
    """Exports a classifier after one step of training; its predictions do not matter."""
    from gradebook.pipelines.cli.train_command import parse_command
    from gradebook.pipelines.curation.labelling import label_samples
    from gradebook.pipelines.export.classifier import export
    from gradebook.pipelines.importing.import_images import import_images
    from gradebook.pipelines.runs import list_runs
    from gradebook.pipelines.training.run_setup import saved_config
    from gradebook.pipelines.training.trainer import train
    from gradebook.storage.project import create_project
    from gradebook.storage.store import open_store

    store = open_store(create_project(directory / "project", CLASSES).root)
    import_images(store, folder)
    ids = [sample.sample_id for sample in store.catalog.samples()[:4]]
    label_samples(store, {sample_id: CLASSES[n % 2] for n, sample_id in enumerate(ids)}, who="benchmark")
    flags = f"--preset finetune --method supervised --backbone {BACKBONE} --weights random --size {size} --steps 1"
    flags += " --labelled 2 --unlabelled 2 --finetune-steps 1 --workers 0 --validation-share 0"
    train(parse_command([str(store.project.root), *flags.split()], program="", saved=saved_config))
    export(store, list_runs(store.project)[0], directory / "classifier")
    return directory / "classifier"


def _cost(call: Callable[[], object]) -> tuple[float, float]:
    """Returns the CPU-seconds of a call, its child processes included, and its wall seconds."""
    before, began = _cpu(), time.perf_counter()
    call()
    return _cpu() - before, time.perf_counter() - began


def _cpu() -> float:
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(used.ru_utime + used.ru_stime for used in both)


def _decode_all(files: Sequence[Path], size: int) -> None:
    """Reads and decodes each file, in as many threads as there are cores."""
    from gradebook.storage.images import decode

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda path: decode(path.read_bytes(), size)[0], files))


def _embed_random_images(images: int, options: Throughput) -> None:
    """Passes as many views through the backbone as an embedding does, in a single-threaded process on each core."""
    from gradebook.mpl.backbones import create
    from gradebook.mpl.networks import ImageClassifier

    model, _ = create(BACKBONE, weights="random")
    normal: Any = model.pretrained_cfg
    net = ImageClassifier(model, tuple(normal["mean"]), tuple(normal["std"])).eval()
    cores = os.cpu_count() or 1
    shares = [len(range(core, images, cores)) for core in range(cores)]
    with ProcessPoolExecutor(cores, mp_context=get_context("fork")) as pool:
        list(pool.map(partial(_forward, net, options), shares))


def _forward(net: Any, options: Throughput, images: int) -> None:
    import torch

    from gradebook.mpl.backbones import features
    from gradebook.pipelines.embedding.feature_extractor import PASS_PIXELS

    torch.set_num_threads(1)
    net = net.to(memory_format=torch.channels_last)
    batch_size = max(1, PASS_PIXELS["cpu"] // options.size**2)
    batch = torch.randint(0, 256, (batch_size, 3, options.size, options.size), dtype=torch.uint8)
    with torch.inference_mode():
        for precise, views in ((True, images), (False, images * (options.views - 1))):
            for start in range(0, views, batch_size):
                features(net, batch[: views - start], precise=precise)


def _decode_and_predict(exported: Path, files: Sequence[Path], size: int) -> None:
    """Decodes all files, then passes as many images through the network: the work of a prediction, without overlap."""
    from gradebook.pipelines.inference.classifier import Classifier

    _decode_all(files, size)
    classifier = Classifier(exported)
    batch = np.zeros((32, 3, size, size), np.uint8)
    for start in range(0, len(files), len(batch)):
        classifier.probabilities(batch[: len(files) - start])


if __name__ == "__main__":
    sys.exit(main())
