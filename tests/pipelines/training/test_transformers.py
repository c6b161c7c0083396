"""A ViT on pixels, at a size that it was not made for, to its end and out of it."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from gradebook.pipelines.export.classifier import export
from gradebook.pipelines.inference.predict import Classifier
from gradebook.pipelines.runs import Run, State
from gradebook.pipelines.training.config import ConfigError
from gradebook.pipelines.training.presets import config_from_json
from gradebook.pipelines.training.student import load_run_student, predict_samples
from gradebook.storage.images import open_square
from gradebook.storage.store import Store
from tests.pipelines.projects import SIDE, make_project, rows, trained, weights

NETWORK = "test_vit"  # made for 160 px, in patches of 16
VIT = ("--preset", "finetune_cpu", "--inputs", "pixels", "--backbone", NETWORK)
STILL = ("--student.lr", "1e-12", "--teacher.lr", "1e-12", "--finetune-lr", "1e-12")


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    store = make_project(tmp_path_factory.mktemp("project"))
    result = trained(store, *VIT, "--student.lr", "0.1", "--feedback", "exact", run="vit", steps=8)
    assert (result.state, result.steps) == (State.FINISHED, 8)
    return store


def said(store: Store, name: str) -> np.ndarray:
    run = Run(store.project.runs / name)
    return predict_samples(load_run_student(run), config_from_json(run.config()), store, store.catalog.samples())


def test_its_feedback_is_alive(store):
    found = [row["feedback"] for row in rows(store, "vit")]
    assert np.isfinite(found).all()
    assert np.abs(found).max() > 1e-6


def test_the_exported_vit_is_the_student_in_onnx_and_in_timm(store, tmp_path):
    answer = export(store, Run(store.project.runs / "vit"), tmp_path / "classifier")
    assert answer.largest_difference < 1e-5
    wanted, files = said(store, "vit"), [Path(s.filepath) for s in store.catalog.samples()]
    assert np.ptp(wanted, axis=0).max() > 1e-3, "the student tells images apart: the test is not vacuous"
    images = np.stack([np.asarray(open_square(file, SIDE)).transpose(2, 0, 1) for file in files])
    np.testing.assert_allclose(Classifier(tmp_path / "classifier").probabilities(images), wanted, atol=1e-5)

    model = timm.create_model(f"local-dir:{tmp_path / 'classifier'}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_data_config(model=model), is_training=False)
    with torch.no_grad():
        images = torch.stack([transform(Image.open(file).convert("RGB")) for file in files[:20]])
        np.testing.assert_allclose(model(images).softmax(-1).numpy(), wanted[:20], atol=1e-5)


def test_a_vit_goes_on_from_another_at_another_size(store):
    trained(store, *VIT, *STILL, "--size", "48", "--start", "vit", run="larger", steps=1)
    sizes = [weights(store, run)["model.pos_embed"].shape[1] for run in ("vit", "larger")]
    assert np.diff(sizes) == 3**2 - 2**2
    head = [weights(store, run)["model.head.weight"] for run in ("vit", "larger")]
    torch.testing.assert_close(*head)


def test_a_size_that_does_not_divide_into_patches_is_refused(store):
    with pytest.raises(ConfigError, match="multiple of 16 px: give --size 32 or 48"):
        trained(store, *VIT, "--size", "40", run="patches")
