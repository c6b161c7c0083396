"""Segments as a trainer writes them, and the steps that a record has of a sample."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gradebook.storage.record import Record
from gradebook.storage.segments import RECORDED, segment_schema

CLASSES = ["cat", "dog", "ünï"]


def row(step: int, sample_id: str, **values) -> dict:
    return {"step": step, "sample_id": sample_id, **dict.fromkeys(RECORDED), **values}


def write(directory: Path, name: str, rows: list[dict]) -> Path:
    """Writes a segment like a trainer does: whole, then renamed."""
    directory.mkdir(parents=True, exist_ok=True)
    draft, path = directory / f".{name}.draft", directory / f"{name}.parquet"
    pq.write_table(pa.Table.from_pylist(rows, segment_schema(CLASSES)), draft)
    draft.replace(path)
    return path


def steps(record: Record, sample_id: str = "s0", run: str | None = None) -> list[tuple[str, int]]:
    return [(entry["run"], entry["step"]) for entry in record.history(sample_id, run)]
