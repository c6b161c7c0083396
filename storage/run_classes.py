"""The classes that a run knew, under the present names of the project's classes.

Shape legend    N samples    K classes that the run knew    M present names of these
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradebook.storage.class_history import ClassHistory

AS_OF = "classes_as_of"  # key of a run's settings: the class event after which it read the classes


@dataclass(frozen=True, slots=True, kw_only=True)
class RunClasses:
    """The classes of a run, then and now."""

    knew: tuple[str, ...]  # (K,) as the run has them
    names: tuple[str, ...]  # (M,) present names; a removed or split class is "NAME (former)"
    column: Mapping[str, int]  # name of `knew` -> position in `names`; several have one after a merge
    former: Mapping[str, str]  # name of `names` that is no class any more -> reason

    @property
    def have_changed(self) -> bool:
        """Whether any class has another name now, or is no class any more."""
        return self.names != self.knew

    @property
    def output_names(self) -> list[str]:
        """The name of each of the run's K outputs: the present one if each has its own, else as the run knew it."""
        one_to_one = len(self.names) == len(self.knew) and not self.former
        return [self.names[self.column[name]] for name in self.knew] if one_to_one else list(self.knew)

    @property
    def fingerprint(self) -> str:
        """A text that differs for other present names; empty if nothing has changed."""
        return f" {[self.names[self.column[name]] for name in self.knew]}" if self.have_changed else ""

    def rename(self, label: str | None) -> str | None:
        """Returns the present name of a class that the run knew; other labels as they are."""
        return label if label is None or label not in self.column else self.names[self.column[label]]

    def merge(self, probabilities: NDArray[Any]) -> NDArray[Any]:
        """Returns probabilities (N, M) of the present names from those (N, K) of the run's classes."""
        if not self.have_changed:
            return probabilities
        merged = np.zeros((*probabilities.shape[:-1], len(self.names)), probabilities.dtype)
        for k, name in enumerate(self.knew):
            merged[..., self.column[name]] += probabilities[..., k]
        return merged

    def describe(self) -> str:
        """Returns which classes the run knew, and what has become of them, empty if nothing has changed."""
        if not self.have_changed:
            return ""
        changes = [
            f"{name} {self.former.get(now) or f'is {now} now'}"
            for name in self.knew
            if (now := self.names[self.column[name]]) != name
        ]
        return f"it was trained with the classes {', '.join(self.knew)}: {'; '.join(changes)}"


def run_classes(config: Mapping[str, Any], history: ClassHistory) -> RunClasses:
    """Returns the classes in a run's settings under their present names; none before these are written."""
    return present_classes(config.get("classes", ()), config.get(AS_OF), history)


def present_classes(knew: Sequence[str], as_of: str | None, history: ClassHistory) -> RunClasses:
    """Returns classes under their present names.

    Args:
        knew: names as they were right after the class event `as_of`.
        as_of: None for before any change.
        history: of the project.
    """
    names, former = dict[str, int](), dict[str, str]()
    column = dict[str, int]()
    for name in knew:
        meaning = history.meaning_since(name, as_of)
        now = f"{name} (former)" if meaning.name is None else meaning.name
        if meaning.name is None:
            former[now] = meaning.reason.removeprefix(f"its class {name} ")
        column[name] = names.setdefault(now, len(names))
    return RunClasses(knew=tuple(knew), names=tuple(names), column=column, former=former)
