"""The large experiment of Pham et al. (2021, https://arxiv.org/abs/2003.10580, section 4), as presets.

From the paper: the networks, 512 px, 2,048 labelled and 16,384 unlabelled images a step, a million steps, 20,000 steps
of fine-tuning, all of ImageNet's labels, and 130 million images of JFT, which is not public: `gradebook pool` chooses
others. What it does not say of these networks (optimiser, rates, weights of the losses) was taken from `imagenet_10`,
and dropout from timm's note on L2: a guess that nobody has tried.

In place of the paper's split of images and weights over 16 TPU cores, weights are shared out inside a node and blocks
are computed again for the backward pass; feedback is by differences, which works on weights in shards.
"""

from dataclasses import replace
from typing import Any

from pipelines.training.config import TrainConfig
from pipelines.training.paper_presets import imagenet_pool


def large_l2(method: str) -> TrainConfig[Any]:
    """EfficientNet-L2, 480 million parameters: the paper's 90.2 % top-1 on ImageNet, after 11 days on 2,048 TPU cores.

    `gradebook plan large_l2 --devices 512` says what a step takes. Not run.
    """
    return _large(method, "large_l2", "tf_efficientnet_l2")


def large_b6_wide(method: str) -> TrainConfig[Any]:
    """EfficientNet-B6-Wide: the paper's 90.0 % top-1 on ImageNet, after 10 days on 2,048 TPU cores.

    The paper counts 390 million parameters, this network has 317 million (`mpl.wide_efficientnet` says why). Not run.
    """
    return _large(method, "large_b6_wide", "efficientnet_b6_wide")


def _large(method: str, preset: str, backbone: str) -> TrainConfig[Any]:
    like = imagenet_pool(method)
    settings = like.settings
    if method in {"mpl", "reduced_mpl"}:
        settings = replace(settings, feedback="difference")
    return replace(
        like,
        preset=preset,
        backbone=backbone,
        size=512,
        steps=1_000_000,
        labelled=2048,
        unlabelled=16_384,
        dropout=0.5,
        finetune_steps=20_000,
        sharding="hybrid",
        recompute=True,
        settings=settings,
    )
