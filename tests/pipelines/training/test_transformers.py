"""A ViT on pixels, at a size that it was not made for, to its end and out of it."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from gradebook.pipelines.export.classifier import export
from gradebook.pipelines.inference.classifier import Classifier
from gradebook.pipelines.process.run_status import State
from gradebook.pipelines.training.config import ConfigError
from gradebook.pipelines.training.presets import config_from_json
from gradebook.pipelines.training.student import load_run_student, predict_samples
from gradebook.storage.images import open_square
from gradebook.storage.store import Store
from tests.pipelines.projects import SIDE, copy_of, make_project, rows, run_of, trained, weights
from tests.pipelines.training.resuming import resume, same_weights, stopped_after

NETWORK = "test_vit"  # made for 160 px, in patches of 16
VIT = ("--preset", "finetune_cpu", "--inputs", "pixels", "--backbone", NETWORK)
LORA = ("--preset", "lora", *VIT[2:], "--student.lr", "0.3", "--seed", "1")
STILL = ("--student.lr", "1e-12", "--teacher.lr", "1e-12", "--finetune-lr", "1e-12")


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    store = make_project(tmp_path_factory.mktemp("project"))
    result = trained(store, *VIT, "--student.lr", "0.1", "--feedback", "exact", run="vit", steps=8)
    assert (result.state, result.steps) == (State.FINISHED, 8)
    return store


def predicted(store: Store, name: str) -> np.ndarray:
    run = run_of(store, name)
    return predict_samples(load_run_student(run), config_from_json(run.config()), store, store.catalog.samples())


def assert_exported(store: Store, name: str, directory: Path) -> None:
    """Checks that ONNX and timm, each by itself, predict what the student does."""
    exported = export(store, run_of(store, name), directory)
    assert exported.largest_difference < 1e-5
    expected, files = predicted(store, name), [Path(s.filepath) for s in store.catalog.samples()]
    assert np.ptp(expected, axis=0).max() > 1e-3, "the student tells images apart: the test is not vacuous"
    images = np.stack([np.asarray(open_square(file, SIDE)).transpose(2, 0, 1) for file in files])
    np.testing.assert_allclose(Classifier(directory).probabilities(images), expected, atol=1e-5)

    model = timm.create_model(f"local-dir:{directory}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_data_config(model=model), is_training=False)
    with torch.no_grad():
        images = torch.stack([transform(Image.open(file).convert("RGB")) for file in files[:20]])
        np.testing.assert_allclose(model(images).softmax(-1).numpy(), expected[:20], atol=1e-5)


def test_a_vit_has_feedback_that_is_not_zero(store):
    feedback = [row["feedback"] for row in rows(store, "vit")]
    assert np.isfinite(feedback).all()
    assert np.abs(feedback).max() > 1e-6


@pytest.mark.slow
def test_the_exported_vit_is_the_student_in_onnx_and_in_timm(store, tmp_path):
    assert_exported(store, "vit", tmp_path / "classifier")


def test_a_vit_starts_from_another_of_another_image_size(store):
    trained(store, *VIT, *STILL, "--size", "48", "--start", "vit", run="larger", steps=1)
    sizes = [weights(store, run)["model.pos_embed"].shape[1] for run in ("vit", "larger")]
    assert np.diff(sizes) == 3**2 - 2**2
    head = [weights(store, run)["model.head.weight"] for run in ("vit", "larger")]
    torch.testing.assert_close(*head)


def test_a_size_that_does_not_divide_into_patches_is_refused(store):
    with pytest.raises(ConfigError, match="multiple of 16 px: give --size 32 or 48"):
        trained(store, *VIT, "--size", "40", run="patches")


def test_adapters_are_trained_alone_and_merged_into_an_ordinary_model(store):
    trained(store, *VIT, *STILL, "--seed", "1", run="plain", steps=1)
    trained(store, *LORA, run="lora")
    before, after = weights(store, "plain"), weights(store, "lora")
    assert {name: value.shape for name, value in before.items()} == {name: v.shape for name, v in after.items()}
    changed = {name for name in before if (before[name] - after[name]).abs().max() > 1e-6}
    adapted = {name for name in before if "attn" in name and name.endswith(("qkv.weight", "proj.weight"))}
    assert changed == adapted | {"model.head.weight", "model.head.bias"}
    assert np.ptp(predicted(store, "lora"), axis=0).max() > 1e-3
    assert np.abs([row["feedback"] for row in rows(store, "lora")]).max() > 1e-6


def test_a_stopped_lora_run_ends_as_if_it_had_not_been_stopped(store, tmp_path):
    other = copy_of(store, tmp_path / "other")
    trained(store, *LORA)
    assert stopped_after(4, other, *LORA).state is State.STOPPED
    assert resume(other).state is State.FINISHED
    assert same_weights(store, other)
    assert rows(store) == rows(other)


@pytest.mark.slow
def test_an_exported_lora_run_is_its_student_in_onnx_and_in_timm(store, tmp_path):
    trained(store, *LORA, run="exported")
    assert_exported(store, "exported", tmp_path / "classifier")


def test_a_network_without_attention_has_nothing_to_adapt(store):
    with pytest.raises(ConfigError, match="test_resnet has no attention to adapt"):
        trained(store, *VIT, "--lora-rank", "4", "--backbone", "test_resnet", run="none")
