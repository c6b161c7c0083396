"""A folder of pictures, a classifier for them, and pools that save often."""

from pathlib import Path

import pytest

from gradebook.pipelines.pool import selection as module
from tests.pipelines.colours import make_classifier, make_pictures

NUMBER = 60


@pytest.fixture(scope="session")
def classifier(tmp_path_factory) -> Path:
    return make_classifier(tmp_path_factory.mktemp("colours") / "classifier")


@pytest.fixture
def folder(tmp_path) -> Path:
    make_pictures(tmp_path / "images", NUMBER)
    return tmp_path / "images"


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    """Eight files at a time, and a save after each if `save_interval_s` is 0, however long a save takes."""
    monkeypatch.setattr(module, "BATCH", 8)
    monkeypatch.setattr(module, "MIN_WORK_PER_SAVE", 0)
