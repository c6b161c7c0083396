"""Networks on pixels that begin as another run's student, and BatchNorm that stays as it was."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from gradebook.mpl.networks import ImageClassifier
from gradebook.pipelines.cli.train_command import parse_command
from gradebook.pipelines.embedding.embed import embed
from gradebook.pipelines.process.run_status import State
from gradebook.pipelines.runs import Run
from gradebook.pipelines.training.config import ConfigError
from gradebook.pipelines.training.presets import config_from_json
from gradebook.pipelines.training.run_setup import saved_config
from gradebook.pipelines.training.student import load_run_student, predict_samples
from gradebook.pipelines.training.trainer import train
from gradebook.storage.store import Store
from tests.pipelines.projects import SIDE, copy_of, make_project, trained, weights

pytestmark = pytest.mark.slow

NETWORK = "test_resnet"
PIXELS = ("--backbone", NETWORK, "--inputs", "pixels", "--size", str(SIDE))
STILL = ("--student.lr", "1e-12", "--teacher.lr", "1e-12", "--finetune-lr", "1e-12", "--norms", "frozen")


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    store = make_project(tmp_path_factory.mktemp("project"))
    embed(store, backbone=NETWORK, weights="random", size=SIDE, views=4, seed=7)
    trained(store, "--backbone", NETWORK, "--method", "supervised", "--student.lr", "0.3", run="views", steps=20)
    return store


def probabilities_of(store: Store, run: str) -> np.ndarray:
    """Returns the probabilities of a run's finished student for every sample."""
    made = Run(store.project.runs / run)
    return predict_samples(load_run_student(made), config_from_json(made.config()), store, store.catalog.samples())


def norms_of(store: Store, run: str) -> dict[str, torch.Tensor]:
    return {name: value for name, value in weights(store, run).items() if "running" in name}


@pytest.mark.parametrize("method", ["mpl", "supervised"])
def test_a_run_starts_from_the_weights_of_the_named_student(store, method):
    """Cached views are stored in float16, which rounds to a thousandth."""
    trained(store, *PIXELS, *STILL, "--method", method, "--start", "views", run=f"still-{method}", steps=2)
    first = probabilities_of(store, "views")
    np.testing.assert_allclose(probabilities_of(store, f"still-{method}"), first, atol=2e-3)
    assert first.std(0).max() > 1e-2, "a student that says the same of all images would prove nothing"


def test_a_run_on_pixels_can_be_started_from_too(store):
    trained(store, *PIXELS, "--student.lr", "0.1", "--start", "views", run="further", steps=4)
    assert np.abs(probabilities_of(store, "further") - probabilities_of(store, "views")).max() > 1e-2
    trained(store, *PIXELS, *STILL, "--start", "further", run="further-still", steps=2)
    np.testing.assert_allclose(probabilities_of(store, "further-still"), probabilities_of(store, "further"), atol=1e-5)


def test_frozen_norms_keep_the_statistics_of_the_pretrained_weights(store):
    begun = norms_of(store, "still-mpl")
    for norms in ("frozen", "batch"):
        trained(store, *PIXELS, "--student.lr", "0.01", "--start", "views", "--norms", norms, run=norms, steps=4)
        moved = [not torch.equal(value, begun[name]) for name, value in norms_of(store, norms).items()]
        assert len(moved) > 4 and all(moved) == any(moved) == (norms == "batch")
    net = ImageClassifier(torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.Dropout()), (0.5,) * 3, (0.5,) * 3)
    net.frozen_norms = True
    net.train()
    assert (net.training, net.model[0].training, net.model[1].training) == (True, False, True)


@pytest.mark.parametrize("lost", [False, True], ids=["at step 4", "before its first checkpoint"])
def test_a_warm_started_run_resumes_bit_for_bit(store, tmp_path, monkeypatch, lost):
    other, options = copy_of(store, tmp_path / "other"), (*PIXELS, "--start", "views")
    whole = copy_of(store, tmp_path / "whole")
    trained(whole, *options, steps=6)
    monkeypatch.setattr("gradebook.pipelines.training.loop._requests", lambda state: (state.step == 4, False))
    assert trained(other, *options, steps=6).state is State.STOPPED
    monkeypatch.undo()
    path = other.project.runs / "r"
    shutil.rmtree(path / "checkpoints" if lost else other.project.runs / "views")
    result = train(parse_command([str(other.project.root), "--resume", "--run", "r"], program="", saved=saved_config))
    assert result is not None and result.state is State.FINISHED
    one, two = weights(whole), weights(other)
    assert all(torch.equal(value, two[name]) for name, value in one.items())


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--start", "none"), "there is no run 'none' to start from"),
        (("--start", "views", "--backbone", "test_efficientnet"), f"is of {NETWORK}: give --backbone {NETWORK}"),
        (("--start", "hidden"), "has hidden units: start from one with --student-hidden 0"),
        (("--start", "views", "--inputs", "views"), "give --inputs pixels with it"),
        (("--start", "views", "--teacher-backbone", NETWORK), "and no --teacher-backbone"),
    ],
)
def test_an_impossible_start_is_a_one_line_error(store, more, says):
    if "hidden" in more and not (store.project.runs / "hidden").exists():
        trained(store, "--backbone", NETWORK, "--student-hidden", "4", run="hidden", steps=2)
    with pytest.raises(ConfigError, match=says):
        trained(store, *PIXELS, *more, run="refused", steps=2)
    assert not Path(store.project.runs / "refused" / "checkpoints").exists()


def test_a_run_of_other_classes_is_refused(store, tmp_path):
    other = copy_of(store, tmp_path / "other")
    path = other.project.runs / "views" / "config.json"
    path.write_text(path.read_text().replace(f'"{other.project.classes[0]}"', '"unheard of"'))
    with pytest.raises(ConfigError, match="has other classes than the project has now"):
        trained(other, *PIXELS, "--start", "views", run="refused", steps=2)
