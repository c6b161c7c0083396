"""Embedding: changed settings, sizes, weights, and files that cannot be read."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from gradebook.mpl import backbones, pretrained_weights
from gradebook.pipelines.importing.import_images import import_images
from gradebook.storage.project import ProjectError, create_project
from gradebook.storage.store import memory_store
from tests.pipelines.embedding.tiny import TINY, emptied, ids, run


@pytest.mark.parametrize("other", [{"views": 3}, {"size": 48}, {"seed": 1}])
def test_changed_settings_are_an_error_that_names_them(store, other):
    run(store)
    with pytest.raises(ProjectError, match=r"were made with (strong|size|weights|seed).*\(now"):
        run(store, **other)
    assert len(store.vectors.spaces()) == 1


def test_changed_weights_are_an_error(store, monkeypatch):
    run(store)
    monkeypatch.setattr(backbones, "digest", lambda model: "other")
    with pytest.raises(ProjectError, match="weights 'random,"):
        run(store)


def test_the_size_is_that_of_the_backbone_whatever_the_files(store):
    """TINY was trained at 160 px; the files have 40."""
    small = emptied(store)
    report = run(small, size=None, views=1)
    assert (report.size, report.native_size) == (160, 160)


def test_without_a_size_the_earlier_one_is_taken(store):
    report = run(store, size=48, views=1)
    assert (report.size, report.native_size) == (48, 160)
    assert run(store, size=None, views=1).already_there == 8


def test_a_backbone_of_a_fixed_size_gets_that_size(store):
    assert run(emptied(store), backbone="test_vit", size=None, views=1).size == 160
    with pytest.raises(ProjectError, match="only takes images of 160 px"):
        run(emptied(store), backbone="test_vit", size=64)


def test_unreadable_files_are_listed_and_the_rest_is_embedded(store):
    gone, cut, other = (Path(sample.filepath) for sample in store.catalog.samples()[:3])
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:100])
    Image.new("RGB", (40, 30), "red").save(other)
    report = run(store)
    assert (report.embedded, report.broken) == (5, 3)
    sentences = dict(report.broken_files)
    assert "No such file" in sentences[str(gone)]
    assert sentences[str(cut)] == sentences[str(other)] == "the file has changed since it was imported: import it again"
    assert len(store.vectors.missing(TINY, ids(store))) == 3
    json.dumps(report.as_json())


def test_no_images_no_weights_and_too_few_views_are_one_line_errors(store, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained_weights, "hub_answers", lambda: False)
    with pytest.raises(ProjectError, match="gradebook import"):
        run(memory_store(create_project(tmp_path / "empty", [])))
    with pytest.raises(ProjectError, match="pretrained weights of test_efficientnet cannot be loaded"):
        run(store, weights="pretrained")
    with pytest.raises(ProjectError, match="do you mean"):
        run(store, backbone="tf_eficientnet_lite0")
    with pytest.raises(ProjectError, match="views is 0"):
        run(store, views=0)
    assert store.vectors.spaces() == []


def test_weights_come_from_a_file_and_later_embeddings_take_the_same(store, tmp_path):
    import timm

    torch.save(timm.create_model(TINY).state_dict(), tmp_path / "weights.pth")
    report = run(store, weights=str(tmp_path / "weights.pth"))
    assert str(tmp_path / "weights.pth") in report.weights
    Image.new("RGB", (40, 30), (9, 99, 199)).save(tmp_path / "train" / "new.png")
    import_images(store, tmp_path / "train")
    again = run(store, weights=None)
    assert (again.embedded, again.weights) == (1, report.weights)


def test_a_missing_file_of_weights_is_named(store, tmp_path):
    with pytest.raises(ProjectError, match=r"there are no weights at .*nothing\.pth"):
        run(store, weights=str(tmp_path / "nothing.pth"))
    assert not store.vectors.spaces()
