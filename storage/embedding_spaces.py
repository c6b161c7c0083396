"""Embedding spaces: the settings with which a backbone's vectors were computed."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from gradebook.storage.project import ProjectError


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """The settings of one backbone's vectors. Vectors of different spaces cannot be compared."""

    backbone: str  # timm's name
    weights: str  # "SOURCE, HASH"; SOURCE is "pretrained", "random" or the path of a file or directory
    size: int  # pixels, height and width of the network's input
    dim: int  # D
    weak: int  # weak views per sample: view 0 is the plain image, view 1 the flipped one
    strong: int  # strong views per sample
    seed: int  # of the strong views

    @property
    def source(self) -> str:
        """The source of the weights."""
        return self.weights.rpartition(", ")[0] or self.weights


def find_space(spaces: Sequence[Space], backbone: str) -> Space:
    """Returns the space of a backbone; raises ProjectError if it has none."""
    for space in spaces:
        if space.backbone == backbone:
            return space
    raise ProjectError(f"there are no vectors of {backbone} yet: make them with: gradebook embed --backbone {backbone}")


def is_new(spaces: Sequence[Space], space: Space) -> bool:
    """Returns whether a space does not exist yet; raises ProjectError if its backbone has another one."""
    old = next((other for other in spaces if other.backbone == space.backbone), space)
    if old != space:
        differing = [
            f"{name} {before!r} (now {after!r})"
            for (name, before), after in zip(asdict(old).items(), asdict(space).values(), strict=True)
            if before != after
        ]
        raise ProjectError(
            f"the vectors of {space.backbone} were made with {', '.join(differing)}: "
            "embed with the same settings, or use another backbone"
        )
    return space not in spaces
