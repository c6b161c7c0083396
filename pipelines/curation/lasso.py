"""A lasso on the map as an address tells it: rings of corners, four hexadecimal digits a number, rings apart by dots.

The browser that draws a lasso and the page that reads its address ask the same whole numbers the same question, so that
what is marked on the screen is what is chosen (`app/map_component.js`).

Shape legend    N places    C corners of a ring
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gradebook.storage.project import ProjectError

RING = re.compile(r"([0-9a-f]{8}){3,400}")
RINGS = 20  # at most


def rings(text: str) -> list[NDArray[np.int64]]:
    """Returns the rings (C, 2) of a lasso; none of no text.

    Raises:
        ProjectError: `text` is no lasso.
    """
    parts = text.split(".") if text else []
    if len(parts) > RINGS or not all(RING.fullmatch(part) for part in parts):
        raise ProjectError("the address names no area of the map: draw it again")
    return [np.array([int(part[k : k + 4], 16) for k in range(0, len(part), 4)]).reshape(-1, 2) for part in parts]


def inside(places: NDArray[np.uint16], around: Sequence[NDArray[np.int64]]) -> NDArray[np.bool_]:
    """Returns (N,) whether a place (N, 2) lies in one of the rings; by the number of sides that are right of it."""
    x, y = places[:, 0].astype(np.float64), places[:, 1].astype(np.float64)
    chosen = np.zeros(len(places), bool)
    for ring in around:
        within = np.zeros(len(places), bool)
        for (x1, y1), (x2, y2) in zip(ring.tolist(), np.roll(ring, -1, 0).tolist(), strict=True):
            crosses = (y1 > y) != (y2 > y)
            if y1 != y2:
                within ^= crosses & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
        chosen |= within
    return chosen
