"""The project that a round of commands left, with their results."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tests.pipelines.cli.cli_runner import Completed

NETWORK, SIDE = "test_resnet", 32


def picture(path: Path, seed: int, label: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 120, (8, 8, 3))
    pixels[..., label] += 130
    Image.fromarray(pixels.astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.NEAREST).save(path)
    return path


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
