"""`--backbone auto`: what it takes depends on the weights that can be loaded and on the time; it says why."""

import pytest

from gradebook.mpl import pretrained_weights
from gradebook.pipelines.embedding.backbone_choice import CANDIDATES, choose_backbone
from gradebook.pipelines.embedding.backbone_setup import resolve_backbone
from gradebook.storage.project import ProjectError, create_project
from gradebook.storage.store import Store, memory_store
from gradebook.storage.vectors import Space


@pytest.fixture
def store(tmp_path) -> Store:
    return memory_store(create_project(tmp_path / "project", []))


def place(monkeypatch, *, cached=(), packaged=(), hub=False):
    """Puts the weights of some backbones into the hub's cache or a package, and lets the hub answer or not."""
    monkeypatch.setattr(pretrained_weights, "hub_repository", lambda name: f"timm/{name}")
    monkeypatch.setattr(pretrained_weights, "cached_file", lambda name: name if name[5:] in cached else None)
    monkeypatch.setattr(pretrained_weights, "packaged_file", lambda name: name if name in packaged else None)
    monkeypatch.setattr(pretrained_weights, "hub_answers", lambda: hub)


def test_offline_the_packaged_backbone_is_chosen_with_its_licence_and_the_reason(monkeypatch):
    place(monkeypatch, packaged=("tf_efficientnet_lite0",))
    choice = choose_backbone(1000, gpu=False, cores=2)
    assert choice.name == "tf_efficientnet_lite0"
    assert "in an installed package, licence Apache-2.0" in choice.sentence
    assert "no hub answers" in choice.sentence and "too slow" in choice.sentence


def test_many_images_on_a_cpu_take_the_quick_backbone_even_with_a_hub(monkeypatch):
    place(monkeypatch, packaged=("tf_efficientnet_lite0",), hub=True)
    choice = choose_backbone(200_000, gpu=False, cores=2)
    assert choice.name == "tf_efficientnet_lite0" and "no hub answers" not in choice.sentence


def test_a_gpu_and_a_hub_take_the_strongest(monkeypatch):
    place(monkeypatch, packaged=("tf_efficientnet_lite0",), hub=True)
    assert choose_backbone(2000, gpu=True).name == CANDIDATES[0].name


def test_weights_in_the_cache_are_taken_although_the_hub_is_silent(monkeypatch):
    place(monkeypatch, cached=("vit_base_patch16_siglip_224.webli",), packaged=("tf_efficientnet_lite0",))
    choice = choose_backbone(1000, gpu=False, cores=2)
    assert choice.name == "vit_base_patch16_siglip_224.webli" and "hub's cache" in choice.sentence


def test_the_hub_is_not_asked_when_all_weights_are_on_this_machine(monkeypatch):
    place(monkeypatch, packaged=[c.name for c in CANDIDATES])
    monkeypatch.setattr(pretrained_weights, "packaged_file", lambda name: name)
    monkeypatch.setattr(pretrained_weights, "hub_answers", lambda: pytest.fail("the hub was asked"))
    choose_backbone(10, gpu=True)


def test_every_candidate_is_known_to_timm_under_the_licence_that_is_named():
    import timm

    for candidate in CANDIDATES:
        settings = timm.get_pretrained_cfg(candidate.name)
        assert settings is not None and settings.license == candidate.licence.lower(), candidate.name


def test_a_project_with_vectors_keeps_their_backbone(monkeypatch, store, capsys):
    place(monkeypatch)
    store.vectors.create(Space(backbone="resnet18", weights="pretrained, 0", size=8, dim=3, weak=1, strong=0, seed=0))
    assert resolve_backbone(store, "auto", None) == ("resnet18", "pretrained")
    assert "has vectors of it" in capsys.readouterr().err


def test_weights_without_a_named_backbone_are_refused(store):
    with pytest.raises(ProjectError, match="name it instead of auto"):
        resolve_backbone(store, "auto", "weights.pth")
