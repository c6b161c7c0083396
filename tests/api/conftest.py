"""A round through the Python API on small pictures, done once; tests that write take a copy of the project."""

import shutil

import pytest

import gradebook
from tests.pipelines.cli.finished_round import CLASSES, NETWORK, SIDE, picture


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Twenty pictures without labels, and a folder with four test pictures in a folder for each class."""
    root = tmp_path_factory.mktemp("photos")
    for n in range(20):
        picture(root / "train" / f"{n:03}.png", n, n % 2)
    for n in range(4):
        picture(root / "held-out" / CLASSES[n % 2] / f"{n}.png", 100 + n, n % 2)
    return root


@pytest.fixture(scope="session")
def finished(photos, tmp_path_factory):
    """A project with embeddings, eight labels and a run."""
    path = tmp_path_factory.mktemp("api") / "pets"
    project = gradebook.create(path, images=photos / "train", classes=CLASSES)
    project.import_images(photos / "held-out", labels="folders", split="test")
    project.embed(NETWORK, weights="random", size=SIDE)
    samples = project.samples
    first = samples[samples.split == "train"].head(8)
    project.label(dict(zip(first.sample_id, [CLASSES[n % 2] for n in range(8)], strict=True)), actor="ann")
    settings = {"labelled": 4, "unlabelled": 12, "record_every": 2, "student.lr": 0.02}
    project.train(steps=4, seed=1, run="one", settings=settings)
    return path


@pytest.fixture
def project(finished, tmp_path):
    """A copy of the finished project that a test may write to."""
    return gradebook.open(shutil.copytree(finished, tmp_path / "pets"))
