"""The frozen backbone of an embedding: its name, weights, input size and views, and the space of its vectors."""

from typing import TYPE_CHECKING, Any

from gradebook.pipelines.embedding.backbone_choice import AUTO, choose_backbone
from gradebook.pipelines.process.progress import say, stage
from gradebook.storage.project import ProjectError
from gradebook.storage.samples import Split
from gradebook.storage.store import Store
from gradebook.storage.vectors import Space

if TYPE_CHECKING:
    from torch import nn

MIN_DEFAULT_VIEWS, MAX_DEFAULT_VIEWS = 2, 5
DEFAULT_IMAGES = {"cpu": 20_000, "mps": 100_000, "cuda": 1_000_000}  # total views by default: about two minutes of work


def resolve_backbone(store: Store, backbone: str, weights: str | None) -> tuple[str, str]:
    """Returns timm's name of the backbone and the source of its weights.

    "auto" is the backbone of the newest vectors; without any, one is chosen by `backbone_choice`, which is printed.
    """
    from gradebook.mpl.backbones import resolve
    from gradebook.mpl.pretrained_weights import BackboneError

    if backbone == AUTO:
        backbone = _automatic(store, weights)
    earlier = next((space for space in store.vectors.spaces() if space.backbone == backbone), None)
    try:
        return resolve(backbone, weights or (earlier.source if earlier else "pretrained"))
    except BackboneError as error:
        raise ProjectError(str(error)) from error


def _automatic(store: Store, weights: str | None) -> str:
    from gradebook.mpl.devices import best_device

    if weights is not None:
        raise ProjectError("--weights belong to one backbone: name it instead of auto")
    spaces = store.vectors.spaces()
    if spaces:
        say(f"{spaces[-1].backbone}, because the project has vectors of it")
        return str(spaces[-1].backbone)
    choice = choose_backbone(len(store.catalog.samples()), gpu=best_device().type != "cpu")
    say(choice.sentence)
    return choice.name


def prepare_network(
    store: Store, backbone: str, views: int | None, size: int | None, seed: int, weights: str
) -> tuple["nn.Module", Space, str, int]:
    """Creates the network on its device.

    Returns:
        The network, the embedding space of its vectors, a sentence on its weights, and its native size.
    """
    stage("Loading the network")
    import torch

    from gradebook.mpl.backbones import digest, features
    from gradebook.mpl.batchnorm_fusion import fuse_batchnorm
    from gradebook.mpl.devices import best_device
    from gradebook.mpl.networks import ImageClassifier

    earlier = next((space for space in store.vectors.spaces() if space.backbone == backbone), None)
    model, sentence, native_size = _create(backbone, size, seed, weights)
    normal: Any = model.pretrained_cfg
    device = best_device().type
    net = ImageClassifier(fuse_batchnorm(model), tuple(normal["mean"]), tuple(normal["std"]))
    net = net.eval().to(device).to(memory_format=torch.channels_last)
    size = size or (earlier.size if earlier else native_size)
    weak, strong = _views(views, earlier, DEFAULT_IMAGES[device] // max(1, len(store.catalog.samples(Split.TRAIN))))
    space = Space(
        backbone=backbone,
        weights=f"{weights}, {digest(model)}",
        size=size,
        dim=features(net, torch.zeros(1, 3, size, size, dtype=torch.uint8, device=device), precise=True).shape[1],
        weak=weak,
        strong=strong,
        seed=seed,
    )
    return net, space, sentence, native_size


def _create(backbone: str, size: int | None, seed: int, weights: Any) -> tuple["nn.Module", str, int]:
    """Returns the model, a sentence on its weights, and its native size."""
    import torch

    from gradebook.mpl.backbones import create, input_size
    from gradebook.mpl.pretrained_weights import BackboneError

    try:
        native_size, fixed = input_size(backbone)
        if fixed and size not in (None, native_size):
            raise ProjectError(f"{backbone} only takes images of {native_size} px: leave the size out")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return *create(backbone, weights=weights), native_size
    except BackboneError as error:
        raise ProjectError(str(error)) from error


def _views(requested: int | None, earlier: Space | None, affordable: int) -> tuple[int, int]:
    """Returns the numbers of weak and strong views; those of earlier vectors, if no other number is requested."""
    if earlier is not None and requested in (None, earlier.weak + earlier.strong):
        return earlier.weak, earlier.strong
    views = min(max(affordable, MIN_DEFAULT_VIEWS), MAX_DEFAULT_VIEWS) if requested is None else requested
    weak = min(views, 2)
    return weak, views - weak
