"""A lasso on the map, as text in the page's address: rings of corners.

A number is four hexadecimal digits, and rings are separated by dots. The browser (`app/map_component.js`) and this
module test the same integers for the same condition, so the samples that are highlighted are the ones that are
selected.

Shape legend    N points    C corners of a ring
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gradebook.storage.project import ProjectError

RING = re.compile(r"([0-9a-f]{8}){3,400}")
MAX_RINGS = 20


def rings(text: str) -> list[NDArray[np.int64]]:
    """Returns the rings (C, 2) of a lasso, an empty list for an empty text.

    Raises:
        ProjectError: `text` is not a lasso.
    """
    parts = text.split(".") if text else []
    if len(parts) > MAX_RINGS or not all(RING.fullmatch(part) for part in parts):
        raise ProjectError("the lasso in the address cannot be read: draw it again")
    return [np.array([int(part[k : k + 4], 16) for k in range(0, len(part), 4)]).reshape(-1, 2) for part in parts]


def inside(xy: NDArray[np.uint16], lasso: Sequence[NDArray[np.int64]]) -> NDArray[np.bool_]:
    """Returns (N,) whether each point (N, 2) lies in one of the rings, by the even-odd rule."""
    x, y = xy[:, 0].astype(np.float64), xy[:, 1].astype(np.float64)
    chosen = np.zeros(len(xy), bool)
    for ring in lasso:
        within = np.zeros(len(xy), bool)
        for (x1, y1), (x2, y2) in zip(ring.tolist(), np.roll(ring, -1, 0).tolist(), strict=True):
            crosses = (y1 > y) != (y2 > y)
            if y1 != y2:
                within ^= crosses & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
        chosen |= within
    return chosen
