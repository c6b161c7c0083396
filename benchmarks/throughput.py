"""How near importing, embedding and predicting come to what bounds them: reading the files, or the bare network.

    python -m benchmarks.throughput --images 200 --rounds 3

Photographs are made up (JPEG, 640 by 480 pixels) unless a folder is given. Each job and its bound take turns; a share
is the bound's CPU-seconds in the job's, medians over the rounds, so 100 % would be a job that does nothing else. Images
a second are of this machine alone. With fewer than 200 images an embedding starts no processes of its own.
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
from datetime import date
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from gradebook.pipelines.studies.method_comparison import machine

BACKBONE = "tf_efficientnet_lite0"
CLASSES = ("this", "that")


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """What to measure."""

    folder: Path | None = None
    """Images; without one, photographs are made up."""
    images: int = 200
    """How many to make up."""
    views: int = 5
    """Of each image that is embedded."""
    size: int = 224
    """Pixels a side at which the network looks at them."""
    rounds: int = 3
    """Of each job and its bound."""


Costs = dict[str, list[tuple[float, float]]]  # what -> (CPU-seconds, wall seconds) of each round


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit status."""
    import tyro

    from gradebook.pipelines.process.progress import silence_libraries

    silence_libraries()
    given = list(sys.argv[1:] if arguments is None else arguments)
    asked = tyro.cli(Throughput, args=given, prog="throughput.py", description=__doc__)
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        folder = asked.folder or photographs(work / "images", asked.images)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        ways = _ways(asked, folder, files, work)
        costs: Costs = {name: [] for name in ways}
        for _ in range(asked.rounds):
            for name, way in ways.items():
                costs[name].append(_cost(way))
    print(as_markdown(costs, len(files), given))
    return 0


def as_markdown(costs: Costs, images: int, given: Sequence[str]) -> str:
    """Returns the table: each job beside its bound."""
    rows = []
    for job, bound in (("import", "decoding"), ("embed", "network"), ("predict", "reading and network")):
        (cpu, wall), (least, _) = (
            tuple(statistics.median(part) for part in zip(*costs[name], strict=True))
            for name in (job, f"{job}: {bound}")
        )
        rows.append(f"| {job} | {images / wall:,.0f} | {1000 * cpu / images:.1f} | {bound} | {least / cpu:.0%} |")
    return f"""
| job | images a second | CPU-ms an image | bound | its share |
| --- | --- | --- | --- | --- |
{chr(10).join(rows)}

`python -m benchmarks.throughput {" ".join(given)}`, {date.today()}, {machine()}
"""


def _ways(asked: Throughput, folder: Path, files: list[Path], work: Path) -> dict[str, Callable[[], object]]:
    """Returns each job and its bound, in the order in which they take turns."""
    from gradebook.pipelines.embedding.embed import embed
    from gradebook.pipelines.importing.image_reader import SIZE
    from gradebook.pipelines.importing.import_images import import_images
    from gradebook.pipelines.inference.predict import predict
    from gradebook.storage.project import create_project
    from gradebook.storage.store import open_store

    exported = _classifier(work, folder, asked.size)
    project = work / "again"

    def imported() -> object:
        shutil.rmtree(project, ignore_errors=True)
        return import_images(open_store(create_project(project, CLASSES).root), folder)

    return {
        "import: decoding": lambda: _decode_all(files, SIZE),
        "import": imported,
        "embed: network": lambda: _network_alone(len(files), asked),
        "embed": lambda: embed(open_store(project), size=asked.size, views=asked.views),
        "predict: reading and network": lambda: _read_and_say(exported, files, asked.size),
        "predict": lambda: list(predict(exported, [folder], broken=lambda sentence: None)),
    }


def photographs(folder: Path, count: int, *, width: int = 640, height: int = 480) -> Path:
    """Makes photographs that take as long to decode as real ones: smooth shapes under fine grain."""
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
    """Exports a classifier after one step of training: what it says does not matter."""
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
    few = [sample.sample_id for sample in store.catalog.samples()[:4]]
    label_samples(store, {sample_id: CLASSES[n % 2] for n, sample_id in enumerate(few)}, who="benchmark")
    words = f"--preset finetune --method supervised --backbone {BACKBONE} --weights random --size {size} --steps 1"
    words += " --labelled 2 --unlabelled 2 --finetune-steps 1 --workers 0 --validation-share 0"
    train(parse_command([str(store.project.root), *words.split()], program="", saved=saved_config))
    export(store, list_runs(store.project)[0], directory / "classifier")
    return directory / "classifier"


def _cost(way: Callable[[], object]) -> tuple[float, float]:
    """Returns CPU-seconds, those of the processes that it started included, and wall seconds."""
    before, began = _cpu(), time.perf_counter()
    way()
    return _cpu() - before, time.perf_counter() - began


def _cpu() -> float:
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(used.ru_utime + used.ru_stime for used in both)


def _decode_all(files: Sequence[Path], size: int) -> None:
    """Reads and decodes each file, in as many threads as there are cores."""
    from gradebook.storage.images import decode

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda path: decode(path.read_bytes(), size)[0], files))


def _network_alone(images: int, asked: Throughput) -> None:
    """Passes as many views through the backbone as an embedding does, on one thread of each core."""
    from gradebook.mpl.backbones import create
    from gradebook.mpl.networks import ImageClassifier

    model, _ = create(BACKBONE, weights="random")
    normal: Any = model.pretrained_cfg
    net = ImageClassifier(model, tuple(normal["mean"]), tuple(normal["std"])).eval()
    cores = os.cpu_count() or 1
    shares = [len(range(core, images, cores)) for core in range(cores)]
    with ProcessPoolExecutor(cores, mp_context=get_context("fork")) as pool:
        list(pool.map(partial(_look, net, asked), shares))


def _look(net: Any, asked: Throughput, images: int) -> None:
    import torch

    from gradebook.mpl.backbones import features
    from gradebook.pipelines.embedding.embed import PASS

    torch.set_num_threads(1)
    net = net.to(memory_format=torch.channels_last)
    at_once = max(1, PASS["cpu"] // asked.size**2)
    batch = torch.randint(0, 256, (at_once, 3, asked.size, asked.size), dtype=torch.uint8)
    with torch.inference_mode():
        for precise, views in ((True, images), (False, images * (asked.views - 1))):
            for start in range(0, views, at_once):
                features(net, batch[: views - start], precise=precise)


def _read_and_say(exported: Path, files: Sequence[Path], size: int) -> None:
    """Reads all files, then asks the network: what predicting has to do, one after the other."""
    from gradebook.pipelines.inference.predict import Classifier

    _decode_all(files, size)
    classifier = Classifier(exported)
    batch = np.zeros((32, 3, size, size), np.uint8)
    for start in range(0, len(files), len(batch)):
        classifier.probabilities(batch[: len(files) - start])


if __name__ == "__main__":
    sys.exit(main())
