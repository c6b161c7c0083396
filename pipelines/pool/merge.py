"""Merges the tables that the parts of a pool have written."""

import csv
from collections.abc import Sequence
from pathlib import Path

from gradebook.pipelines.pool.checkpoint import write_table
from gradebook.pipelines.pool.top_k import ScoredImage, TopK
from gradebook.storage.csv_cells import unescape_cell
from gradebook.storage.project import ProjectError


def join(tables: Sequence[Path], out: Path, *, per_class: int) -> dict[str, int]:
    """Writes the table that a single process would have written for the whole folder.

    Args:
        tables: the tables of the parts, .csv or .parquet, made with at least the same `per_class`.
        out: .csv or .parquet; it must not exist.
        per_class: N, maximum number of images of each class.

    Returns:
        The number of images of each class.

    Raises:
        ProjectError: a table is not a finished one of `gradebook pool`, or `out` exists.
    """
    if out.exists() or out.suffix not in (".csv", ".parquet"):
        raise ProjectError(f"{out} must be a new file that ends in .csv or .parquet")
    images = [image for table in tables for image in _read(table)]
    top_k = TopK(list(dict.fromkeys(image.label for image in images)), per_class)
    for image in images:
        top_k.add(image)
    write_table(top_k, out)
    return top_k.counts()


def _read(table: Path) -> list[ScoredImage]:
    try:
        if table.suffix == ".parquet":
            import pyarrow.parquet as pq

            return [ScoredImage(**row) for row in pq.read_table(table).to_pylist()]
        with table.open(newline="", encoding="utf-8") as file:
            return [
                ScoredImage(
                    filepath=unescape_cell(row["filepath"]),
                    sample_id=row["sample_id"],
                    label=unescape_cell(row["label"]),
                    probability=float(row["probability"]),
                )
                for row in csv.DictReader(file)
            ]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ProjectError(
            f"{table} is not a finished table of gradebook pool ({error}): finish that part first"
        ) from error
