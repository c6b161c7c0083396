"""Pictures and tables to import, and what an import made of them."""

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from gradebook.pipelines.importing import import_images as job
from gradebook.storage.events import replay
from gradebook.storage.store import Store


def put(path: Path, seed: int = 0, size: tuple[int, int] = (20, 12)) -> Path:
    """Writes a picture of coarse noise; another seed is another picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


def copy(path: Path, to: Path) -> Path:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, to)
    return to


def csv(path: Path, *lines: str, encoding: str = "utf-8") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    return str(path)


def labels(store: Store) -> dict[str, str]:
    """Returns file name -> label."""
    names = {s.sample_id: Path(s.filepath).name for s in store.catalog.samples()}
    return {names[i]: label for i, label in replay(store.log.read()).items()}


def counts(report: job.ImportReport) -> dict[str, int]:
    return {name: value for name, value in report.as_json().items() if type(value) is int and value}
