"""Changes of samples' splits after their import: append-only rows; the last row of a sample is its present split."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from gradebook.storage.samples import Sample, Split

TABLE = "splits"
TABLES = ("samples", "files", TABLE)  # that decide which samples are in a split


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitChange:
    """One row: a sample that a draw put into a split, or that an undo put back."""

    sample_id: str
    split: Split
    draw: str  # id of the draw, 32 hexadecimal digits; an undo has its draw's
    at: datetime  # UTC
    actor: str


def apply(samples: Iterable[Sample], changes: Sequence[SplitChange]) -> list[Sample]:
    """Returns the samples, each in its present split."""
    now = {change.sample_id: change.split for change in changes}
    if not now:
        return list(samples)
    return [s if (split := now.get(s.sample_id, s.split)) is s.split else replace(s, split=split) for s in samples]


def drawn_for_testing(changes: Iterable[SplitChange]) -> set[str]:
    """Returns the ids of the samples that were put into the test split after their import, and not back since."""
    now = {change.sample_id: change.split for change in changes}
    return {sample_id for sample_id, split in now.items() if split is Split.TEST}


def to_table(changes: Sequence[SplitChange]) -> Any:
    """Returns the rows as a `pyarrow.Table`."""
    import pyarrow as pa

    columns: dict[str, list[Any]] = {name: [getattr(c, name) for c in changes] for name in schema().names}
    return pa.Table.from_pydict(columns | {"split": [c.split.value for c in changes]}, schema())


def from_table(rows: Any) -> list[SplitChange]:
    """Returns the rows of a `pyarrow.Table`."""
    rows = rows.set_column(rows.schema.get_field_index("at"), "at", rows.column("at").cast("int64"))  # exact
    return [
        SplitChange(**row | {"split": Split(row["split"]), "at": _EPOCH + timedelta(microseconds=row["at"])})
        for row in rows.to_pylist()
    ]


def schema() -> Any:
    """Returns the table's schema."""
    import pyarrow as pa

    return pa.schema(
        {
            "sample_id": pa.string(),
            "split": pa.string(),
            "draw": pa.string(),
            "at": pa.timestamp("us", tz="UTC"),
            "actor": pa.string(),
        }
    )


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
