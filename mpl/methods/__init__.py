"""The methods by the names that the command line knows. Each is one file, next to its paper."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mpl.methods import mpl, pseudo_label, supervised, uda
from mpl.step import StepReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One method: what it can be told, its step, and whether it trains a teacher beside the student."""

    settings: type[Any]
    step: Callable[..., StepReport]
    teacher: bool


METHODS: dict[str, Method] = {
    "supervised": Method(settings=supervised.Settings, step=supervised.step, teacher=False),
    "pseudo_label": Method(settings=pseudo_label.Settings, step=pseudo_label.step, teacher=True),
    "uda": Method(settings=uda.Settings, step=uda.step, teacher=False),
    "mpl": Method(settings=mpl.Settings, step=mpl.step, teacher=True),
}
