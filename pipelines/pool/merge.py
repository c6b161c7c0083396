"""The tables of a pool's parts, joined into one."""

import csv
from collections.abc import Sequence
from pathlib import Path

from gradebook.pipelines.pool.checkpoint import write
from gradebook.pipelines.pool.top_k import Kept, Surest
from gradebook.storage.project import ProjectError


def join(tables: Sequence[Path], out: Path, *, per_class: int) -> dict[str, int]:
    """Writes the surest images of each class of several tables, as one table of the whole folder would have them.

    Args:
        tables: those of the parts, .csv or .parquet, each with at least `per_class` images a class where there are any.
        out: .csv or .parquet; it must not exist.
        per_class: N, images to keep of each class at most.

    Returns:
        How many images of each class are kept.

    Raises:
        ProjectError: a table is none that `gradebook pool` has finished, or `out` is there.
    """
    if out.exists() or out.suffix not in (".csv", ".parquet"):
        raise ProjectError(f"{out} must be a new file that ends in .csv or .parquet")
    every = [image for table in tables for image in _read(table)]
    surest = Surest(list(dict.fromkeys(image.label for image in every)), per_class)
    for image in every:
        surest.add(image)
    write(surest, out)
    return surest.counts()


def _read(table: Path) -> list[Kept]:
    try:
        if table.suffix == ".parquet":
            import pyarrow.parquet as pq

            return [Kept(**row) for row in pq.read_table(table).to_pylist()]
        with table.open(newline="", encoding="utf-8") as file:
            return [
                Kept(
                    filepath=row["filepath"],
                    sample_id=row["sample_id"],
                    label=row["label"],
                    probability=float(row["probability"]),
                )
                for row in csv.DictReader(file)
            ]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ProjectError(
            f"{table} is no table that gradebook pool has finished ({error}): finish that part first"
        ) from error
