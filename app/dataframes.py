"""Helpers for tables."""

from collections.abc import Sequence
from typing import Any

MISSING = "–"  # placeholder of an empty cell


def drop_empty_columns(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the rows without the columns that are None in every row."""
    filled = {name for row in rows for name, cell in row.items() if cell is not None}
    return [{name: cell for name, cell in row.items() if name in filled} for row in rows]
