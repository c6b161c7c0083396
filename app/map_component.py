"""The map component: the points that the browser gets, and the component that draws them and returns a lasso.

A point takes six bytes, sent as base64: two 16-bit coordinates, and the 16-bit group that gives its colour. The browser
returns the corners of the lasso, not the points in it.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradebook.app.browser_components import component
from gradebook.pipelines.curation.map_colors import DISAGREE, MISSING, Coloring, Kind

POSITIVE, NEGATIVE = "#2C97A0", "#D55E00"
WARNING = "#D55E00"  # high end of a number that asks for review
HIGH = "#0072B2"  # high end of any other number
NEUTRAL = "neutral"  # a colour between background and text, which the browser works out
NO_GROUP = 65_535  # the browser's number for `MISSING`


@dataclass(frozen=True, slots=True, kw_only=True)
class MapPoints:
    """What the map shows."""

    xy: NDArray[np.uint16]  # (N, 2)
    coloring: Coloring  # of the same N points
    missing_label: str  # legend of the points without a group
    high_is_warning: bool  # whether a high number asks for review
    preview: Mapping[str, Any] | None = None  # the point under the pointer, its image and name, once it was asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class MapState:
    """What the user has drawn and hidden."""

    lasso: str  # as `gradebook.pipelines.curation.lasso` reads it
    hidden: Sequence[int]  # groups


def mount(
    key: str, points: MapPoints, initial: MapState, *, on_lasso: Callable[[], None], on_hidden: Callable[[], None]
) -> None:
    """Draws the map. The session then has its `lasso`, `hidden` and `hover` (a point) under `key`.

    Args:
        key: of the component.
        points: what to show.
        initial: the state of the map when the browser first draws it.
        on_lasso: called after the user has drawn another lasso.
        on_hidden: called after the user has hidden other groups.
    """
    hidden = [NO_GROUP if group == MISSING else group for group in initial.hidden]
    data = {**_encode(points), "preview": points.preview, "initial": {"lasso": initial.lasso, "hidden": hidden}}
    component("map_component")(
        key=key, data=data, on_lasso_change=on_lasso, on_hidden_change=on_hidden, on_hover_change=_ignore
    )


def _ignore() -> None:
    """Is called when the pointer rests on another point; the page then draws it as the session's `hover`."""


def to_group(number: int) -> int:
    """Returns the group that the browser's number stands for."""
    return MISSING if number == NO_GROUP else number


def _encode(points: MapPoints) -> dict[str, Any]:
    """Returns the points as the browser gets them."""
    groups, names = points.coloring.groups, points.coloring.names
    return {
        "xy": _base64(points.xy),
        "groups": _base64(np.where(groups == MISSING, NO_GROUP, groups)),
        "kind": points.coloring.kind.value,
        "names": list(names),
        "counts": np.bincount(groups[groups != MISSING], minlength=len(names)).tolist(),
        "missing": int((groups == MISSING).sum()),
        "missing_label": points.missing_label,
        "colors": _colors(points.coloring, points.high_is_warning),
        "ends": [names[0], names[-1]] if names else [],
    }


def _colors(coloring: Coloring, high_is_warning: bool) -> Sequence[str]:
    """Returns a colour for each class, or the ends (and the middle) of a colour scale."""
    if coloring.kind is Kind.BALANCE:
        return (NEGATIVE, NEUTRAL, POSITIVE)
    if coloring.kind is Kind.SHARE:
        return (NEUTRAL, WARNING if high_is_warning else HIGH)
    if DISAGREE in coloring.names:
        return (WARNING, HIGH)
    return coloring.colors


def _base64(numbers: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(numbers, "<u2").tobytes()).decode()
