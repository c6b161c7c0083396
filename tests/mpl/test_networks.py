import copy

import pytest
import timm
import torch

from mpl.networks import ImageClassifier, LinearHead, MlpHead


def test_the_scale_is_folded_into_the_weights_exactly():
    torch.manual_seed(0)
    head = LinearHead(7, 3, 0.25)
    x = torch.randn(5, 7)
    weight, bias = head.folded()
    torch.testing.assert_close(head(x), x @ weight.T + bias, rtol=0, atol=1e-6)
    assert not weight.requires_grad


@pytest.mark.parametrize("head", [LinearHead(7, 3, 0.25), MlpHead(7, 4, 3, 0.25)])
def test_a_head_scales_its_features_and_keeps_the_scale_with_its_weights(head):
    x = torch.randn(5, 7)
    assert head(x).shape == (5, 3)
    other = copy.deepcopy(head)
    other.scale.fill_(1.0)
    torch.testing.assert_close(head(x), other(x * 0.25))
    assert "scale" in head.state_dict()
    assert all(name != "scale" for name, _ in head.named_parameters()), "the scale is not learned"


def test_an_image_classifier_normalises_as_timm_does():
    torch.manual_seed(0)
    model = timm.create_model("test_efficientnet", num_classes=3).eval()
    mean, std = (0.4, 0.5, 0.6), (0.1, 0.2, 0.3)
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    by_hand = torch.stack([(images[:, c] / 255 - mean[c]) / std[c] for c in range(3)], 1)
    with torch.no_grad():
        torch.testing.assert_close(ImageClassifier(model, mean, std).eval()(images), model(by_hand))


def test_only_the_models_own_weights_are_saved():
    model = timm.create_model("test_efficientnet", num_classes=3)
    whole = ImageClassifier(model, (0.5,) * 3, (0.5,) * 3)
    assert set(whole.state_dict()) == {f"model.{name}" for name in model.state_dict()}
