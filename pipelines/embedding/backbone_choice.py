"""The choice of `--backbone auto`: the best backbone whose weights can be loaded and whose time is affordable."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

AUTO = "auto"
AFFORDABLE_S = 300.0
VIEWS = 2  # of an image, for the estimate
GPU_SPEEDUP = 60.0  # of a GPU over one CPU core; assumed, not measured


@dataclass(frozen=True, slots=True)
class Candidate:
    """A backbone whose weights are under a licence without conditions of use."""

    name: str  # timm's
    licence: str
    cpu_ms: float  # of a view at the native size on one core; docs/log.md


# Best first, by published linear and nearest-neighbour classification. DINOv3 is left out: its licence has conditions.
CANDIDATES = (
    Candidate("vit_base_patch14_reg4_dinov2.lvd142m", "Apache-2.0", 1030),
    Candidate("vit_small_patch14_reg4_dinov2.lvd142m", "Apache-2.0", 400),
    Candidate("vit_base_patch16_siglip_224.webli", "Apache-2.0", 150),
    Candidate("tiny_vit_21m_224.dist_in22k", "Apache-2.0", 97),
    Candidate("convnext_nano.in12k_ft_in1k", "Apache-2.0", 38),
    Candidate("tf_efficientnet_lite0", "Apache-2.0", 20),
)


@dataclass(frozen=True, slots=True)
class Choice:
    """A backbone, and a sentence that says why it was chosen."""

    name: str
    sentence: str


def choose_backbone(images: int, *, gpu: bool, cores: int | None = None) -> Choice:
    """Chooses a backbone for a number of images.

    Args:
        images: in the project.
        gpu: whether a GPU computes.
        cores: of the CPU; None for those of this machine.
    """
    from gradebook.mpl.pretrained_weights import PACKAGED, where_available

    speed = GPU_SPEEDUP if gpu else float(cores or os.cpu_count() or 1)
    seconds = {c.name: images * VIEWS * c.cpu_ms / 1000 / speed for c in CANDIDATES}
    affordable = [c for c in CANDIDATES if seconds[c.name] <= AFFORDABLE_S or c.name == PACKAGED]
    places = where_available([c.name for c in affordable])
    chosen = next((c for c in affordable if c.name in places), CANDIDATES[-1])
    sentence = (
        f"{chosen.name} was chosen (weights {places.get(chosen.name, 'nowhere')}, licence {chosen.licence}; "
        f"about {_duration(seconds[chosen.name])} for {images:,} images)"
    )
    return Choice(chosen.name, "; ".join([sentence, *_reasons(chosen, affordable, seconds, places)]))


def _reasons(
    chosen: Candidate, affordable: Sequence[Candidate], seconds: Mapping[str, float], places: Mapping[str, str]
) -> list[str]:
    """Returns why the candidates before the chosen one were not chosen."""
    better = CANDIDATES[: CANDIDATES.index(chosen)]
    slow = [c for c in better if c not in affordable]
    absent = [c for c in better if c in affordable and c.name not in places]
    reasons = []
    if slow:
        times = ", ".join(f"{c.name} {_duration(seconds[c.name])}" for c in slow)
        reasons.append(f"too slow for these images: {times}")
    if absent:
        reasons.append(f"weights not on this machine, and no hub answers: {', '.join(c.name for c in absent)}")
    return reasons


def _duration(seconds: float) -> str:
    return f"{max(1, round(seconds))} s" if seconds < 100 else f"{round(seconds / 60)} minutes"
