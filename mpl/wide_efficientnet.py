"""EfficientNet-B6-Wide, the smaller network of Meta Pseudo Labels' large experiment (Pham et al., 2021, section 4).

The paper describes it as EfficientNet-B6 with its width factor raised from 2.1 to 5.0, 390 million parameters and
images of 512 px. The published B6 has a width factor of 1.8 (Tan and Le, 2019, https://arxiv.org/abs/1905.11946). The
description is not consistent: with B6's depth factor of 2.6, a width of 5.0 gives 316.6 million parameters in timm's
EfficientNet; 390 million would need a width of 5.56, or about the depth of B7 (3.1, 398.5 million). This network
follows the stated factors: width 5.0, depth 2.6.
"""

from typing import Any

from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import generate_default_cfgs, register_model
from timm.models.efficientnet import EfficientNet, _gen_efficientnet

WIDTH, DEPTH = 5.0, 2.6  # factors on B0's

default_cfgs = generate_default_cfgs(
    {
        "efficientnet_b6_wide.untrained": {
            "input_size": (3, 512, 512),
            "pool_size": (16, 16),
            "mean": IMAGENET_DEFAULT_MEAN,
            "std": IMAGENET_DEFAULT_STD,
            "num_classes": 1000,
            "first_conv": "conv_stem",
            "classifier": "classifier",
        }
    }
)


@register_model
def efficientnet_b6_wide(pretrained: bool = False, **kwargs: Any) -> EfficientNet:
    """Returns EfficientNet-B6-Wide with random weights; no pretrained ones were published."""
    make: Any = _gen_efficientnet
    kwargs = {"bn_eps": 1e-3, "pad_type": "same"} | kwargs
    net: EfficientNet = make(
        "efficientnet_b6_wide", channel_multiplier=WIDTH, depth_multiplier=DEPTH, pretrained=pretrained, **kwargs
    )
    return net
