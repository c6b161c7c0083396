"""Projects small enough to train on in a second: random vectors around a centre for each class, and tiny images."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gradebook.pipelines.cli.train_command import parse_command
from gradebook.pipelines.runs import Run
from gradebook.pipelines.training.finalize import Result
from gradebook.pipelines.training.trainer import train
from gradebook.storage.events import Kind, event
from gradebook.storage.project import create_project
from gradebook.storage.samples import Sample, Split, sample_id
from gradebook.storage.store import Store, open_store
from gradebook.storage.vectors import Space

CLASSES = ("crow", "heron", "owl")
BACKBONE = "test_efficientnet"  # timm's smallest
TRAIN, TEST, LABELLED = 60, 12, 12  # samples; of those to train on, the first so many have a label
WEAK, STRONG, DIM = 2, 2, 16
SIDE = 32  # pixels


def make_project(root: Path, *, train: int = TRAIN, labelled: int = LABELLED) -> Store:
    """Makes a project whose every sample has a picture and vectors; sample n is of class n % 3."""
    store = open_store(create_project(root / "project", CLASSES).root)
    samples = [_sample(root / "pictures", n, Split.TRAIN if n < train else Split.TEST) for n in range(train + TEST)]
    store.catalog.add(samples, [])
    known = [*samples[:labelled], *samples[train:]]
    store.log.append([event(Kind.IMPORTED, s.sample_id, class_of(s), actor="import") for s in known])
    add_vectors(store, samples)
    return store


def add_images(store: Store, count: int) -> list[Sample]:
    """Adds further training images with vectors, without labels."""
    start = len(store.catalog.samples())
    samples = [_sample(store.project.root.parent / "pictures", start + n, Split.TRAIN) for n in range(count)]
    store.catalog.add(samples, [])
    random = np.random.default_rng(1)
    views = random.normal(size=(count, WEAK + STRONG, DIM)).astype(np.float16)
    store.vectors.add(BACKBONE, [s.sample_id for s in samples], views)
    return samples


def add_vectors(store: Store, samples: Sequence[Sample], backbone: str = BACKBONE) -> None:
    store.vectors.create(Space(backbone=backbone, weights="none", size=SIDE, dim=DIM, weak=WEAK, strong=STRONG, seed=0))
    random = np.random.default_rng(0)
    centres = random.normal(size=(len(CLASSES), DIM))
    near = np.stack([centres[CLASSES.index(class_of(s))] for s in samples])[:, None]
    views = near + random.normal(scale=0.7, size=(len(samples), WEAK + STRONG, DIM))
    store.vectors.add(backbone, [s.sample_id for s in samples], views.astype(np.float16))


def class_of(sample: Sample) -> str:
    return CLASSES[number_of(sample) % len(CLASSES)]


def number_of(sample: Sample) -> int:
    return int(Path(sample.filepath).stem)


def copy_of(store: Store, root: Path) -> Store:
    """Returns a project of its own with the same content, pictures shared."""
    shutil.copytree(store.project.root, root)
    return open_store(root)


def flags(store: Store, *extra: str, run: str = "r", steps: int = 6) -> list[str]:
    """Returns a command line for a training of a second."""
    return [
        *(str(store.project.root), "--run", run, "--steps", str(steps), "--backbone", BACKBONE),
        *("--labelled", "8", "--unlabelled", "16", "--hidden", "8", "--finetune-steps", "2", "--workers", "0"),
        *("--log-every", "2", "--validate-every", "3", "--checkpoint-every", "3", "--size", str(SIDE)),
        *("--weights", "random", "--classifier", "student", *extra),
    ]


def trained(store: Store, *extra: str, run: str = "r", steps: int = 6) -> Result:
    result = train(parse_command(flags(store, *extra, run=run, steps=steps), program="train", saved=_nothing))
    assert result is not None
    return result


def weights(store: Store, run: str = "r") -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(store.project.runs / run / "student.safetensors")


def rows(store: Store, run: str = "r") -> list[dict[str, Any]]:
    """Returns a run's record in an order of its own: by step and sample."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    parts = [pq.read_table(path) for path in sorted((store.project.runs / run / "record").glob("*.parquet"))]
    found = pa.concat_tables(parts).to_pylist()
    return sorted(found, key=lambda row: (row["step"], row["sample_id"], row["student_probability"] or 0))


def timeless(store: Store, run: str = "r") -> list[dict[str, Any]]:
    """Returns a run's metrics without times."""
    clocks = {"seconds", "images_per_second", "phases"}
    return [{k: v for k, v in row.items() if k not in clocks} for row in Run(store.project.runs / run).metrics()]


def run_of(store: Store, name: str = "r") -> Run:
    return Run(store.project.runs / name)


def saved(store: Store, name: str, run: str = "r") -> Any:
    return json.loads((store.project.runs / run / name).read_text())


class ScriptedListener:
    """A listener that gets labels at given steps, so that a test is reproducible."""

    def __init__(self, *news: dict[str, str] | None):
        self._news = list(news)

    def has_news(self) -> bool:
        if self._news and self._news[0] is None:
            self._news.pop(0)
            return False
        return bool(self._news)

    def take(self) -> dict[str, str]:
        return self._news.pop(0)


def listener_of_run_live(data: Any) -> ScriptedListener | None:
    """The listener of a data module whose run is called live: after three steps it gets twelve labels more."""
    if data.config.run != "live":
        return None
    return ScriptedListener(None, None, labels(*data.store.catalog.samples(Split.TRAIN)[: LABELLED + 12]))


def labels(*given: Sample) -> dict[str, str]:
    return {s.sample_id: class_of(s) for s in given}


def _nothing(project: Path, name: str) -> dict[str, Any]:
    raise AssertionError("nothing is resumed here")


def _sample(pictures: Path, number: int, split: Split) -> Sample:
    pictures.mkdir(exist_ok=True)
    path = pictures / f"{number:03}.png"
    random = np.random.default_rng(number)
    pixels = random.integers(0, 120, (SIDE, SIDE, 3))
    pixels[..., number % 3] += 120
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return Sample(
        sample_id=sample_id(path.read_bytes()),
        filepath=str(path),
        split=split,
        width=SIDE,
        height=SIDE,
        fingerprint=random.bytes(200),
    )
