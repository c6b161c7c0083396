"""The experiments of Pham et al. (2021, https://arxiv.org/abs/2003.10580), as presets.

Settings are those of the released configurations and of the paper's appendix C; where both are silent, the docstring
says what was taken. The data are plain (no catalogue): torchvision's, or a folder with train/CLASS and test/CLASS.

Unlabelled images here are those without a label; the released program deals the labelled ones among them too.

The large experiment (section 4) is `large_l2` and `large_b6_wide`. From the paper: the networks, 512 px, 2,048
labelled and 16,384 unlabelled images a step, a million steps, 20,000 steps of fine-tuning, all of ImageNet's labels,
and 130 million images of JFT, which is not public: `gradebook pool` selects others. What it does not say of these
networks (optimiser, rates, weights of the losses) was taken from `imagenet_10`, and dropout from timm's note on L2: a
guess that nobody has tried. In place of the paper's split of images and weights over 16 TPU cores, weights are sharded
inside a node and activations are recomputed in the backward pass; feedback is by differences, which works on sharded
weights.
"""

from dataclasses import replace
from typing import Any

from gradebook.pipelines.training.config import DataConfig, OptimConfig, TrainConfig, method_settings


def cifar10_4k(method: str) -> TrainConfig[Any]:
    """CIFAR-10 with 4,000 labels, WRN-28-2: the paper's 96.11 ± 0.07 % (its table 2).

    `accelerate launch pipelines/train.py cifar --preset cifar10_4k`; 300,000 steps of 128 + 896 images, on one GPU or
    several. Not run to its end yet, and its time on a GPU not measured.
    """
    return _small_images(method, DataConfig(kind="cifar10", labels=4000), "cifar10_4k")


def svhn_1k(method: str) -> TrainConfig[Any]:
    """SVHN with 1,000 labels, WRN-28-2: the paper's 98.01 ± 0.07 % (its table 2).

    `accelerate launch pipelines/train.py svhn --preset svhn_1k`; as many steps as `cifar10_4k`. No configuration was
    released for SVHN: these are CIFAR-10's settings. Not run to its end yet.
    """
    return _small_images(method, DataConfig(kind="svhn", labels=1000), "svhn_1k")


def imagenet_10(method: str) -> TrainConfig[Any]:
    """ImageNet with a tenth of its labels, ResNet-50 at 224 px: the paper's 73.89 % top-1 (its table 2).

    `accelerate launch pipelines/train.py runs --preset imagenet_10 --data.images IMAGENET`, where IMAGENET has
    train/CLASS and val/CLASS; `--data.label-list FILE` takes the public list of the 10 % instead of a draw. 700,000
    steps of 1,024 + 15,360 images, for dozens of GPUs; not run to its end yet.
    """
    return _resnet_50(method, DataConfig(kind="folder", labels=128_116), "imagenet_10")


def imagenet_pool(method: str) -> TrainConfig[Any]:
    """All of ImageNet's labels and a pool of further images, ResNet-50: the paper's 83.2 % top-1 (its table 3).

    `gradebook pool` chooses the pool from any folder (the paper's came from JFT, 12.8 million images); then
    `accelerate launch pipelines/train.py runs --preset imagenet_pool --data.images IMAGENET --data.pool POOL.parquet`.
    Steps and batches are those of `imagenet_10`; not run to its end yet.
    """
    return _resnet_50(method, DataConfig(kind="folder", labels=0), "imagenet_pool")


def cifar10_cpu(method: str) -> TrainConfig[Any]:
    """CIFAR-10 with 4,000 labels for two CPU cores: WRN-10-1 from random weights, minutes a run (docs/results.md).

    `python pipelines/studies/equal_compute.py CIFAR10` compares methods with it, each with as many steps as make their
    floating-point operations equal.
    """
    optim = OptimConfig(lr=0.05, weight_decay=5e-4, warmup_steps=50)
    return TrainConfig(
        preset="cifar10_cpu",
        method=method,
        data=DataConfig(kind="folder", labels=4000),
        inputs="pixels",
        backbone="wrn_10_1",
        weights="random",
        size=32,
        precision="no",
        steps=800,
        labelled=32,
        unlabelled=64,
        student=optim,
        teacher=optim,
        average=0.99,
        finetune_steps=100,
        finetune_lr=0.001,
        validation_share=0.0,
        record_every=10,
        log_every=50,
        validate_every=500,
        checkpoint_every=500,
        settings=method_settings(method),
    )


def large_l2(method: str) -> TrainConfig[Any]:
    """EfficientNet-L2, 480 million parameters: the paper's 90.2 % top-1 on ImageNet, after 11 days on 2,048 TPU cores.

    `gradebook plan large_l2 --devices 512` says what a step takes. Not run.
    """
    return _large(method, "large_l2", "tf_efficientnet_l2")


def large_b6_wide(method: str) -> TrainConfig[Any]:
    """EfficientNet-B6-Wide: the paper's 90.0 % top-1 on ImageNet, after 10 days on 2,048 TPU cores.

    The paper counts 390 million parameters, this network has 317 million (`gradebook.mpl.wide_efficientnet` says why).
    Not run.
    """
    return _large(method, "large_b6_wide", "efficientnet_b6_wide")


def _small_images(method: str, data: DataConfig, preset: str) -> TrainConfig[Any]:
    steps = 300_000
    return TrainConfig(
        preset=preset,
        method=method,
        data=data,
        inputs="pixels",
        backbone="wrn_28_2",
        weights="random",
        size=32,
        dropout=0.2,
        magnitude=16,
        steps=steps,
        labelled=128,
        unlabelled=896,
        student=OptimConfig(lr=0.05, weight_decay=5e-4, wait_steps=3000, warmup_steps=5000),
        teacher=OptimConfig(lr=0.05, weight_decay=5e-4, warmup_steps=5000),
        average=0.995,
        finetune_steps=1000,
        finetune_lr=1e-5,
        finetune_labelled=512,
        log_every=100,
        validate_every=5000,
        checkpoint_every=5000,
        workers=8,
        settings=_paper(method, uda_weight=8.0, temperature=0.7, threshold=0.6, uda_ramp=5000 / steps, smoothing=0.15),
    )


def _resnet_50(method: str, data: DataConfig, preset: str) -> TrainConfig[Any]:
    steps = 700_000
    return TrainConfig(
        preset=preset,
        method=method,
        data=data,
        inputs="pixels",
        backbone="resnet50",
        weights="random",
        size=224,
        dropout=0.1,
        magnitude=17,
        precision="bf16",
        steps=steps,
        labelled=1024,
        unlabelled=15 * 1024,
        student=OptimConfig(lr=0.4, weight_decay=1e-4, wait_steps=20_000, warmup_steps=5000, clip=5.0),
        teacher=OptimConfig(lr=0.6, weight_decay=1e-4, warmup_steps=5000, clip=5.0),
        average=0.999,
        finetune_steps=2000,
        finetune_lr=1e-5,
        finetune_labelled=512,
        record_every=10,
        log_every=100,
        validate_every=10_000,
        checkpoint_every=5000,
        workers=8,
        settings=_paper(
            method, uda_weight=20.0, temperature=0.5, threshold=0.6, uda_ramp=50_000 / steps, smoothing=0.1
        ),
    )


def _paper(method: str, **settings: float) -> Any:
    """Returns the settings of Meta Pseudo Labels and its teacher's UDA; other methods keep their own papers'."""
    if method == "mpl":
        return method_settings(method, view="strong", **settings)
    return method_settings(method, **(settings if method == "uda" else {}))


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
