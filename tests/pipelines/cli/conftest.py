"""A whole round on twenty-four small pictures, with the result of each command."""

import pytest

from tests.pipelines.cli.cli_runner import gradebook
from tests.pipelines.cli.finished_round import NETWORK, SIDE, FinishedRound, write_images


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> FinishedRound:
    """A whole round on twenty-four small pictures, with the result of each command."""
    root = tmp_path_factory.mktemp("world")
    project, images = root / "project", root / "images"
    train = write_images(root)
    small = ("--steps", 4, "--labelled", 4, "--unlabelled", 12, "--backbone", NETWORK, "--record-every", 2, "--seed", 1)
    calls: dict[str, tuple[object, ...]] = {
        "init": ("init", project, "--classes", "cat,dog"),
        "import": ("import", project, images, "--json"),
        "import test": ("import", project, root / "test", "--labels", "folders", "--split", "test", "--json"),
        "embed": ("embed", project, "--backbone", NETWORK, "--weights", "random", "--size", SIDE, "--json"),
        "label": ("label", project, root / "labels.csv", "--json"),
        "train": ("train", project, *small, "--run", "one", "--method", "mpl", "--preset", "quick", "--json"),
        "queue": ("queue", project, "--limit", 5, "--json"),
        "record": ("record", project, root / "images" / "019.png", "--json"),
        "status": ("status", project, "--json"),
        "evaluate": ("evaluate", project, "--json"),
        "export": ("export", project, root / "classifier", "--json"),
        "predict": ("predict", root / "classifier", train[3], root / "test", "--json"),
    }
    return FinishedRound(root, {name: gradebook(*call) for name, call in calls.items()})
