"""A class of a project, with its color and key, and a change of the classes, as the log has it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

PALETTE = (  # of classes: six of Okabe and Ito's colors, and six that differ from them on light and dark pages
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00",
    "#8C6D31", "#8A63D2", "#B5174B", "#9BC53D", "#E83FA8", "#F4A6A0",
)  # fmt: skip
OTHER = "#7F7F7F"  # of classes without a color of their own, from the thirteenth on
KEYS = "123456789abdefgijmnopqtvwyz"  # in this order; without those of Review (H K L S U X) and Streamlit (C R)


class Action(StrEnum):
    """The kinds of class changes."""

    INITIAL = "initial"  # the classes as they were before the first change
    ADD = "add"
    RENAME = "rename"
    MERGE = "merge"
    SPLIT = "split"
    REMOVE = "remove"
    ORDER = "order"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectClass:
    """A class of a project. It keeps color and key under every later name."""

    name: str
    color: int | None = None  # index into the palette; None: shown as "other"
    key: str = ""  # on the keyboard; empty for none


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassChange:
    """A change of a project's classes."""

    action: Action
    old: tuple[str, ...] = ()  # the classes that it renames, merges, splits or removes; all, in order, for ORDER
    new: tuple[ProjectClass, ...] = ()  # the classes that result

    def describe(self) -> str:
        """Returns the change in words, such as: rename crow to raven."""
        old, new = ", ".join(self.old), ", ".join(c.name for c in self.new)
        return {
            Action.INITIAL: f"classes {new}",
            Action.ADD: f"add {new}",
            Action.RENAME: f"rename {old} to {new}",
            Action.MERGE: f"merge {old} into {new}",
            Action.SPLIT: f"split {old} into {new}",
            Action.REMOVE: f"remove {old}",
            Action.ORDER: f"order {old}",
        }[self.action]


def hex_color(one: ProjectClass) -> str:
    """Returns the color of a class as #RRGGBB."""
    return OTHER if one.color is None else PALETTE[one.color]


def to_json(change: ClassChange) -> str:
    """Returns a change as the text that the log has in the column `label`."""
    return json.dumps(asdict(change), ensure_ascii=False, separators=(",", ":"))


def from_json(text: str) -> ClassChange:
    """Returns the change of such a text.

    Raises:
        ValueError: it is no such text.
    """
    try:
        row = json.loads(text)
        new = tuple(ProjectClass(name=str(c["name"]), color=c["color"], key=str(c["key"])) for c in row["new"])
        return ClassChange(action=Action(row["action"]), old=tuple(map(str, row["old"])), new=new)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{text[:200]!r} is no change of classes") from error


def styled(names: Sequence[str]) -> tuple[ProjectClass, ...]:
    """Returns classes of a project whose classes have never changed, with colors and keys in their order.

    If all classes are named by a digit, that digit is the key.
    """
    digits = all(len(name) == 1 and name in "0123456789" for name in names)
    return tuple(
        ProjectClass(
            name=name,
            color=n if n < len(PALETTE) else None,
            key=name if digits else KEYS[n] if n < len(KEYS) else "",
        )
        for n, name in enumerate(names)
    )
