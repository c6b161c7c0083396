"""timm backbones with pretrained weights: from a file, the hub's cache, the hub, or an installed package.

Random weights are used only on request, because the features of a random frozen backbone are meaningless.

Shape legend    N images    D features    K classes    (3, S, S) an image, uint8
"""

import difflib
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor, nn

from gradebook.mpl import wide_efficientnet, wide_resnet  # noqa: F401 their networks come into timm's registry
from gradebook.mpl.pretrained_weights import PACKAGED, SOURCES, BackboneError, UnavailableWeights


def create(name: str, *, weights: str = "pretrained", classes: int = 0, dropout: float = 0.0) -> tuple[nn.Module, str]:
    """Returns a timm model and a sentence that names the source of its weights.

    Args:
        name: timm's name of the model.
        weights: "pretrained", "random" for weights from torch's global generator, or a path: a file of weights
            (safetensors or torch's, with timm's names or the original ones), or a directory that timm saved.
        classes: K outputs of a new classifier; 0 for a model that returns the D features before it.
        dropout: probability of dropout before the classifier.

    Raises:
        BackboneError: timm has no such model, or its pretrained weights can be loaded neither from the hub nor locally.
    """
    _check_name(name)
    options: dict[str, Any] = {"num_classes": classes} | ({"drop_rate": dropout} if dropout else {})
    if weights == "random":
        return timm.create_model(name, **options), f"{name} has random weights, as asked"
    if weights != "pretrained":
        return _from_disk(name, Path(weights), options)
    reasons = []
    for source in SOURCES:
        try:
            return source(name, options)
        except UnavailableWeights as reason:
            reasons.append(str(reason))
    raise BackboneError(
        f"the pretrained weights of {name} cannot be loaded ({'; '.join(reasons)}): "
        f"go online once, give a file of them (--weights FILE), or use {PACKAGED}, whose weights are installed"
    )


def resolve(backbone: str, weights: str) -> tuple[str, str]:
    """Returns timm's name of a backbone and the source of its weights, a path made absolute.

    Args:
        backbone: timm's name, or "local-dir:DIR" for a directory that timm saved, as timm itself takes it.
        weights: see `create`; with "local-dir:DIR", DIR takes its place.

    Raises:
        BackboneError: DIR is not such a directory.
    """
    source, _, directory = backbone.partition(":")
    if source != "local-dir":
        return backbone, weights if weights in ("pretrained", "random") else str(Path(weights).absolute())
    try:
        name = json.loads((Path(directory) / "config.json").read_text(encoding="utf-8"))["architecture"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackboneError(
            f"{directory} has no config.json that names a model: give a directory that timm saved"
        ) from error
    return str(name), str(Path(directory).absolute())


def input_size(name: str) -> tuple[int, bool]:
    """Returns the height and width in pixels that the model was trained at, and whether it accepts no other size."""
    _check_name(name)
    settings = timm.get_pretrained_cfg(name, allow_unregistered=True)
    if settings is None:
        return 224, False
    return int(settings.input_size[-1]), bool(settings.fixed_input_size)


def set_input_size(model: nn.Module, size: int) -> bool:
    """Sets the input size of a model, in place; position embeddings of a ViT are interpolated.

    Args:
        model: a timm model; one that accepts images of any size is not changed.
        size: S, pixels.

    Returns:
        Whether `timm.create_model` needs `img_size` for a model of this shape.

    Raises:
        BackboneError: the model does not accept this size.
    """
    net: Any = model
    settings = net.pretrained_cfg
    trained_at = settings["input_size"][-1]
    if not settings.get("fixed_input_size"):
        return False
    embedding: Any = getattr(net, "patch_embed", None)
    if _size_of(embedding, trained_at) != size:
        if not hasattr(net, "set_input_size"):
            raise BackboneError(
                f"{settings['architecture']} only takes images of {trained_at} px: give --size {trained_at}"
            )
        patch = int(getattr(embedding, "patch_size", (1,))[0])
        if size % patch:
            below = max(patch, size // patch * patch)
            raise BackboneError(
                f"{settings['architecture']} takes images whose side is a multiple of {patch} px: "
                f"give --size {below} or {below + patch}"
            )
        net.set_input_size(img_size=(size, size))
    return bool(size != trained_at)


def _size_of(embedding: Any, otherwise: int) -> int:
    size = getattr(embedding, "img_size", None)
    return otherwise if size is None else int(size[0])


@torch.inference_mode()
def features(net: nn.Module, images: Tensor, *, precise: bool) -> Tensor:
    """Returns the features (N, D), float32, of images (N, 3, S, S).

    Args:
        net: a frozen backbone that normalises its images itself.
        images: uint8.
        precise: compute in float32; otherwise in bfloat16 where the hardware supports it, which is 2.5 times faster on
            a CPU (cosine similarity to float32 at least 0.9995).
    """
    device = images.device.type
    with torch.autocast(device, torch.bfloat16, enabled=not precise and _has_bfloat16(device)):
        out: Tensor = net(images)
    return out.float()


def digest(model: nn.Module) -> str:
    """Returns a hash of the weights, 16 hexadecimal digits."""
    total = hashlib.blake2b(digest_size=8)
    for value in model.state_dict().values():
        total.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def _check_name(name: str) -> None:
    plain = name.split(".")[0]
    if ":" in name or timm.is_model(plain):
        return
    close = difflib.get_close_matches(plain, timm.list_models(), n=3)
    raise BackboneError(
        f"timm has no model {name}: " + (f"do you mean {' or '.join(close)}?" if close else "correct it")
    )


def _from_disk(name: str, path: Path, options: dict[str, Any]) -> tuple[nn.Module, str]:
    """Loads weights from a file, or from a directory that timm saved."""
    if not path.exists():
        raise BackboneError(f"there are no weights at {path}: give a file of weights, or a directory that timm saved")
    source = {"file": str(path), "source": "file"}

    def load(seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if path.is_dir():
                return timm.create_model(f"local-dir:{path}", pretrained=True, **options)
            return timm.create_model(name, pretrained=True, pretrained_cfg_overlay=source, **options)

    try:
        model, other = load(0), load(1)
    except Exception as error:  # timm and torch raise anything for a file that is not what they expect
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BackboneError(
            f"{path} cannot be loaded into {name} ({reason}): give the model that it was made for"
        ) from error
    settings: Any = model.pretrained_cfg
    heads = tuple(np.atleast_1d(settings.get("classifier") or ()))
    pairs = zip(model.named_parameters(), other.parameters(), strict=True)
    missing = [k for (k, a), b in pairs if not torch.equal(a, b) and not k.startswith(heads)]
    if missing:  # timm silently ignores unknown names and keeps random weights instead
        raise BackboneError(
            f"{path} lacks {len(missing)} weights of {name}, such as {missing[0]}: give the model that it was made for"
        )
    return model, f"weights of {name} from {path}"


def _has_bfloat16(device: str) -> bool:
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    supported: Any = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return device == "cpu" and supported is not None and bool(supported())
