"""A project to embed."""

import numpy as np
import pytest
from PIL import Image

from gradebook.pipelines.importing.import_images import import_images
from gradebook.storage.project import create_project
from gradebook.storage.samples import Split
from gradebook.storage.store import Store, memory_store


@pytest.fixture
def store(tmp_path) -> Store:
    """Six training images and two test images of 40 x 30 pixels."""
    store = memory_store(create_project(tmp_path / "project", []))
    for seed in range(8):
        path = tmp_path / ("train" if seed < 6 else "test") / f"{seed}.png"
        path.parent.mkdir(exist_ok=True)
        coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3)).astype(np.uint8)
        Image.fromarray(coarse).resize((40, 30), Image.Resampling.BICUBIC).save(path)
    import_images(store, tmp_path / "train")
    import_images(store, tmp_path / "test", split=Split.TEST)
    return store
