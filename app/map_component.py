"""The map's points in the browser: what it is sent of them, and the component that draws them and takes a lasso.

Of a point it is sent six bytes, as base64: whole numbers of two, for its place and for the group that gives its colour.
What comes back is the lasso's corners, not the points in it.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradebook.app.browser_components import component
from gradebook.app.figures.common import PALETTE
from gradebook.pipelines.curation.map_colors import DISAGREE, NOTHING, Colouring, Kind

HELPED, HARMED = "#2C97A0", "#D55E00"
HOT = "#D55E00"  # the end of a share that asks for a look
MUCH = "#0072B2"  # the end of a share that does not
GROUND = "ground"  # a colour between paper and ink, which the browser knows
NO_GROUP = 65_535  # how the browser calls `NOTHING`


def draw(
    key: str,
    places: NDArray[np.uint16],
    colouring: Colouring,
    *,
    unknown: str,
    wants_a_look: bool,
    start: Mapping[str, Any],
    on_lasso: Callable[[], None],
    on_hidden: Callable[[], None],
) -> None:
    """Draws the points.

    The session's `key` then has `lasso`, as `gradebook.pipelines.curation.lasso` reads it, and `hidden`, the groups
    that are off.

    Args:
        key: of the component.
        places: (N, 2).
        colouring: of the same N.
        unknown: what a point in no group stands for.
        wants_a_look: whether a high number is the one to look at.
        start: `lasso` and `hidden` to begin with.
        on_lasso: is called when somebody has drawn another lasso.
        on_hidden: is called when somebody has hidden other groups.
    """
    begin = {**start, "hidden": [NO_GROUP if group == NOTHING else group for group in start["hidden"]]}
    data = {"places": _packed(places), **_coloured(colouring, unknown, wants_a_look), "start": begin}
    component("map_component")(key=key, data=data, on_lasso_change=on_lasso, on_hidden_change=on_hidden)


def group_of(told: int) -> int:
    """Returns the group that the browser means."""
    return NOTHING if told == NO_GROUP else told


def _coloured(colouring: Colouring, unknown: str, wants_a_look: bool) -> dict[str, Any]:
    counts = np.bincount(colouring.groups[colouring.groups != NOTHING], minlength=len(colouring.names))
    return {
        "groups": _packed(np.where(colouring.groups == NOTHING, NO_GROUP, colouring.groups)),
        "kind": colouring.kind.value,
        "names": list(colouring.names),
        "counts": counts.tolist(),
        "nothing": int((colouring.groups == NOTHING).sum()),
        "unknown": unknown,
        "round": len(PALETTE),  # classes before the colours come again, darker or lighter
        "colours": _colours(colouring, wants_a_look),
        "ends": [colouring.names[0], colouring.names[-1]] if colouring.names else [],
    }


def _colours(colouring: Colouring, wants_a_look: bool) -> Sequence[str]:
    """Returns a colour a class, or the ends (and the middle) of a ramp."""
    if colouring.kind is Kind.BALANCE:
        return (HARMED, GROUND, HELPED)
    if colouring.kind is Kind.SHARE:
        return (GROUND, HOT if wants_a_look else MUCH)
    if DISAGREE in colouring.names:
        return (HOT, MUCH)
    return [PALETTE[n % len(PALETTE)] for n in range(len(colouring.names))]


def _packed(numbers: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(numbers, "<u2").tobytes()).decode()
