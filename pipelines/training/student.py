"""A run's finished student: its weights on disk, its predictions, and the full model from pixels to logits."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from gradebook.pipelines.image_cache import SquareImages
from gradebook.pipelines.runs import Run
from gradebook.pipelines.training.config import ConfigError, TrainConfig
from gradebook.pipelines.training.networks import image_classifier, timm_model
from gradebook.pipelines.training.presets import config_from_json
from gradebook.storage import checksums
from gradebook.storage.files import atomic_path
from gradebook.storage.samples import Sample

if TYPE_CHECKING:
    from torch import nn

    from gradebook.storage.store import Store


WEIGHTS = "student.safetensors"


def save_student(net: "nn.Module", path: Path) -> None:
    """Writes the finished student's weights into the run's directory `path`, atomically."""
    from safetensors.torch import save_file

    from gradebook.mpl.lora import merged

    with atomic_path(path / WEIGHTS) as temporary:
        save_file({name: value.cpu().contiguous() for name, value in merged(net).items()}, temporary)
        checksums.append(path / WEIGHTS, temporary)


def load_student(run: Run, config: TrainConfig[Any]) -> "nn.Module":
    """Returns the finished student of a run, or that of its newest snapshot, ready to predict.

    Raises:
        ConfigError: the run has not finished.
    """
    from safetensors.torch import load_file

    from gradebook.mpl.networks import LinearHead, MlpHead

    weights = run.results / WEIGHTS
    if not weights.exists():
        raise ConfigError(f"run {run.name} has not finished: resume it with: gradebook train --resume --run {run.name}")
    state = load_file(weights)
    if config.inputs == "views" and "layers.0.weight" in state:
        (hidden, features), (classes, _) = state["layers.0.weight"].shape, state["layers.2.weight"].shape
        net: nn.Module = MlpHead(features, hidden, classes, float(state["scale"]))
    elif config.inputs == "views":
        classes, features = state["classifier.weight"].shape
        net = LinearHead(features, classes, float(state["scale"]))
    else:
        classes = len(run.config()["classes"])
        net = image_classifier(config.backbone, classes, size=config.size, weights="random")
    net.load_state_dict(state)
    return net.eval()


Probabilities = NDArray[np.float64]  # (N, K)


def load_run_student(run: Run) -> "nn.Module":
    """Returns the finished student of a run; raises what `load_student` raises."""
    return load_student(run, config_from_json(run.config()))


def predict_samples(net: "nn.Module", config: TrainConfig[Any], store: "Store", samples: list[Sample]) -> Probabilities:
    """Returns a student's probabilities of samples, (N, K), from the inputs that it was trained on.

    Raises:
        ConfigError: samples have no cached views yet.
    """
    import torch

    from gradebook.mpl.devices import best_device
    from gradebook.pipelines.training.cached_views import CachedViews, load_views
    from gradebook.pipelines.training.dataset import InputSource
    from gradebook.pipelines.training.evaluation import probabilities
    from gradebook.pipelines.training.image_loader import ImageLoader

    device = best_device()
    if config.inputs == "views":
        views, weak = load_views(store, config.backbone, [s.sample_id for s in samples], views=1)
        source: InputSource = CachedViews(torch.from_numpy(views).to(device), weak)
    else:
        images = SquareImages(store.project, [s.filepath for s in samples], [s.sample_id for s in samples], config.size)
        source = ImageLoader(images, workers=config.workers, device=device)
    return probabilities(net.to(device), source, np.arange(len(samples))).double().numpy()


Normalization = tuple[tuple[float, ...], tuple[float, ...]]  # mean and standard deviation of each channel, in [0, 1]


@dataclass(frozen=True, slots=True)
class FullModel:
    """A student as a network on images, from pixels to logits."""

    model: "nn.Module"  # normalised images (N, 3, S, S) in, logits (N, K) out
    normalization: Normalization
    size: int  # S, pixels
    is_timm: bool  # whether it is a plain timm model: not where the head is more than the one linear layer


def full_model(student: "nn.Module", config: TrainConfig[Any], store: "Store", classes: list[str]) -> FullModel:
    """Returns the student from pixels to logits; a head on cached views is joined to the backbone that made them."""
    import torch

    from gradebook.mpl.networks import ImageClassifier, LinearHead

    if isinstance(student, ImageClassifier):
        return FullModel(student.model, _normalization(student.model), config.size, is_timm=True)
    space = next(s for s in store.vectors.spaces() if s.backbone == config.backbone)
    torch.manual_seed(space.seed)
    model = timm_model(config.backbone, len(classes), weights=space.source).eval()
    normalization, new = _normalization(model), cast(Any, model)
    classifier = new.get_classifier()
    fits = isinstance(classifier, torch.nn.Linear) and classifier.in_features == space.dim
    if not (isinstance(student, LinearHead) and fits):
        new.reset_classifier(0)
        return FullModel(torch.nn.Sequential(model, student), normalization, space.size, is_timm=False)
    with torch.no_grad():
        weight, bias = student.folded()
        classifier.weight.copy_(weight)
        classifier.bias.copy_(bias)
    return FullModel(model, normalization, space.size, is_timm=True)


def with_preprocessing(full: FullModel) -> "nn.Module":
    """Returns a full model with normalisation and softmax: images uint8 (N, 3, S, S) in, probabilities (N, K) out."""
    import torch

    from gradebook.mpl.networks import ImageClassifier

    return torch.nn.Sequential(ImageClassifier(full.model, *full.normalization), torch.nn.Softmax(-1)).eval()


def _normalization(model: Any) -> Normalization:
    return tuple(model.pretrained_cfg["mean"]), tuple(model.pretrained_cfg["std"])
