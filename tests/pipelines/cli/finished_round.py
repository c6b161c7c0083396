"""The project that a round of commands left, with their results."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tests.pipelines.cli.cli_runner import Completed

NETWORK, SIDE = "test_resnet", 32
CLASSES = ("cat", "dog")


def picture(path: Path, seed: int, label: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 120, (8, 8, 3))
    pixels[..., label] += 130
    Image.fromarray(pixels.astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.NEAREST).save(path)
    return path


def write_images(root: Path) -> list[Path]:
    """Writes 20 training images, a copy, a broken one, four test images and labels.csv for eight; returns the 20."""
    images = root / "images"
    train = [picture(images / f"{n:03}.png", n, n % 2) for n in range(20)]
    for n in range(4):
        picture(root / "test" / CLASSES[n % 2] / f"{n}.png", 100 + n, n % 2)
    shutil.copy(images / "000.png", images / "again.png")
    (images / "broken.png").write_bytes(b"no image")
    rows = "".join(f"{path},{CLASSES[n % 2]}\n" for n, path in enumerate(train[:8]))
    (root / "labels.csv").write_text("filepath,label\n" + rows)
    return train


@dataclass(frozen=True)
class FinishedRound:
    root: Path
    results: dict[str, Completed]

    @property
    def project(self) -> Path:
        return self.root / "project"

    @property
    def image(self) -> Path:
        return self.root / "images" / "019.png"
