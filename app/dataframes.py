"""Tables of a page."""

from collections.abc import Sequence
from typing import Any

UNKNOWN = "–"  # stands where a row has nothing to say


def filled(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the rows without the columns that are None in all of them."""
    known = {name for row in rows for name, cell in row.items() if cell is not None}
    return [{name: cell for name, cell in row.items() if name in known} for row in rows]
