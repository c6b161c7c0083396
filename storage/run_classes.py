"""The classes that a run was trained with, under the present names of the project's classes.

Shape legend    N samples    K classes of the run    M present names of these
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

    trained: tuple[str, ...]  # (K,) as the run was trained with them
    names: tuple[str, ...]  # (M,) present names; a removed or split class is "NAME (former)"
    column: Mapping[str, int]  # name of `trained` -> position in `names`; several have one after a merge
    former: Mapping[str, str]  # name of `names` that is no class any more -> reason

    @property
    def have_changed(self) -> bool:
        """Whether any class has another name now, or is no class any more."""
        return self.names != self.trained

    @property
    def output_names(self) -> list[str]:
        """The name of each of the run's K outputs: the present one if each has its own, else as in its training."""
        one_to_one = len(self.names) == len(self.trained) and not self.former
        return [self.names[self.column[name]] for name in self.trained] if one_to_one else list(self.trained)

    @property
    def fingerprint(self) -> str:
        """A text that differs for other present names; empty if nothing has changed."""
        return f" {[self.names[self.column[name]] for name in self.trained]}" if self.have_changed else ""

    def rename(self, label: str | None) -> str | None:
        """Returns the present name of a class of the run; other labels as they are."""
        return label if label is None or label not in self.column else self.names[self.column[label]]

    def merge(self, probabilities: NDArray[Any]) -> NDArray[Any]:
        """Returns probabilities (N, M) of the present names from those (N, K) of the run's classes."""
        if not self.have_changed:
            return probabilities
        merged = np.zeros((*probabilities.shape[:-1], len(self.names)), probabilities.dtype)
        for k, name in enumerate(self.trained):
            merged[..., self.column[name]] += probabilities[..., k]
        return merged

    def describe(self) -> str:
        """Returns the classes of the run and what has become of them, empty if nothing has changed."""
        if not self.have_changed:
            return ""
        changes = [
            f"{name} {self.former.get(now) or f'is {now} now'}"
            for name in self.trained
            if (now := self.names[self.column[name]]) != name
        ]
        return f"it was trained with the classes {', '.join(self.trained)}: {'; '.join(changes)}"


def run_classes(config: Mapping[str, Any], history: ClassHistory) -> RunClasses:
    """Returns the classes in a run's settings under their present names; none before these are written."""
    return present_classes(config.get("classes", ()), config.get(AS_OF), history)


def present_classes(classes: Sequence[str], as_of: str | None, history: ClassHistory) -> RunClasses:
    """Returns classes under their present names.

    Args:
        classes: names as they were right after the class event `as_of`.
        as_of: None for before any change.
        history: of the project.
    """
    names, former = dict[str, int](), dict[str, str]()
    column = dict[str, int]()
    for name in classes:
        meaning = history.meaning_since(name, as_of)
        now = f"{name} (former)" if meaning.name is None else meaning.name
        if meaning.name is None:
            former[now] = meaning.reason.removeprefix(f"its class {name} ")
        column[name] = names.setdefault(now, len(names))
    return RunClasses(trained=tuple(classes), names=tuple(names), column=column, former=former)
