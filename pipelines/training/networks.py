"""Networks by name: timm models with a new classifier."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.training.config import ConfigError

if TYPE_CHECKING:
    from torch import nn

    from gradebook.mpl.networks import ImageClassifier


def image_classifier(
    backbone: str, classes: int, *, size: int | None = None, weights: str, dropout: float = 0.0
) -> "ImageClassifier":
    """Returns a timm model on uint8 images with a new classifier for these classes.

    Args:
        backbone: timm's name.
        classes: K.
        size: side of the images in pixels; when None, that of the model's own input.
        weights: the source of its other weights, see `gradebook.mpl.backbones.create`.
        dropout: before the classifier.

    Raises:
        ConfigError: there is no such model, its pretrained weights are not available, or it takes no images of that
            size.
    """
    from gradebook.mpl.backbones import set_input_size
    from gradebook.mpl.networks import ImageClassifier
    from gradebook.mpl.pretrained_weights import BackboneError

    model = timm_model(backbone, classes, weights=weights, dropout=dropout)
    if size is not None:
        try:
            set_input_size(model, size)
        except BackboneError as error:
            raise ConfigError(str(error)) from error
    normal: Any = model.pretrained_cfg
    return ImageClassifier(model, tuple(normal["mean"]), tuple(normal["std"]))


def timm_model(backbone: str, classes: int, *, weights: str, dropout: float = 0.0) -> "nn.Module":
    """Returns a timm model with a new classifier; its other weights are those that an embedding with it uses.

    Random weights come from torch's global generator, in the order in which an embedding draws them.

    Raises:
        ConfigError: there is no such model, or its pretrained weights are not available.
    """
    from gradebook.mpl.backbones import create
    from gradebook.mpl.pretrained_weights import BackboneError

    try:
        model, _ = create(backbone, weights=weights, dropout=dropout)
    except BackboneError as error:
        raise ConfigError(str(error)) from error
    new: Any = model
    new.reset_classifier(classes)
    return model


def on_meta(make: "Callable[[], nn.Module]") -> "nn.Module":
    """Returns the network that `make` builds, on the meta device: without memory for its weights."""
    import torch

    with torch.device("meta"):
        return make()
