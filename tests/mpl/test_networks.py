import copy

import pytest
import timm
import torch

from gradebook.mpl.backbones import BackboneError, create
from gradebook.mpl.networks import ImageClassifier, LinearHead, MlpHead


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


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("wrn_28_2", 1_467_610), ("wrn_16_2", 691_674), ("wrn_10_2", 303_706), ("wrn_10_1", 77_850)],
)
def test_wide_residual_networks_have_the_published_size(name, parameters):
    """WRN-28-2 with ten classes has 1.47 million (Oliver et al., 2018); the others by the same arithmetic."""
    net, _ = create(name, weights="random", classes=10)
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_a_wide_residual_network_is_one_of_timms():
    net, source = create("wrn_10_2", weights="random", dropout=0.5)
    assert "random" in source
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, net.num_features) == (2, 128)
    net.reset_classifier(3)
    assert net.get_classifier().out_features == net.num_classes == 3
    assert net.drop.p == 0.5
    with pytest.raises(BackboneError, match="the pretrained weights of wrn_10_2 cannot be loaded"):
        create("wrn_10_2")


def test_a_wide_residual_networks_maps_halve_twice_and_shortcuts_add():
    net, _ = create("wrn_10_1", weights="random")
    maps = net.blocks(net.stem(torch.randn(1, 3, 32, 32)))
    assert maps.shape == (1, 64, 8, 8)
    block = net.blocks[0].eval()
    x = torch.randn(2, 16, 8, 8)
    torch.nn.init.zeros_(block.conv_2.weight)
    assert torch.equal(block(x), x), "a block whose last convolution is zero is its shortcut"
