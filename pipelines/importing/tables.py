"""Reads tables of images: CSV, Parquet or JSON lines, with common names for paths, labels, splits and annotators."""

import csv
import json
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradebook.storage.csv_cells import unescape_cell
from gradebook.storage.project import ProjectError
from gradebook.storage.samples import Split

TABLES = (".csv", ".parquet", ".jsonl")
# Column names, the first that a table has; case does not matter.
PATHS = ("filepath", "file_path", "path", "image", "image_path", "file_name", "filename", "file", "img")
LABELS = ("label_name", "label", "class", "class_name", "category")
SPLITS = ("split", "subset", "data_split")
PEOPLE = ("by", "annotator", "labeler", "labelled_by", "labeled_by", "annotated_by")
TRAIN_NAMES = frozenset({"train", "training"})
# Validation images are never trained on, so they are test images.
TEST_NAMES = frozenset({"test", "testing", "val", "valid", "validation", "dev"})


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table, unchanged; what a table does not have is empty."""

    line: int  # in a CSV file; the row in a Parquet file, from 1
    filepath: str
    label: str
    split: str
    by: str = ""  # who labelled it


def read_table(path: Path, *, labels: bool) -> Iterator[Row]:
    """Yields the rows that are not empty.

    Args:
        path: a .parquet or .jsonl file, or else a CSV file.
        labels: whether the table must have a column of labels.

    Raises:
        ProjectError: it is no such table, or lacks a column of paths, or of labels.
    """
    readers = {".parquet": _parquet_rows, ".jsonl": _json_rows}
    rows = readers.get(path.suffix.lower(), _csv_rows)(path)
    _, header = next(rows, (1, []))
    columns = [_column(header, names) for names in (PATHS, LABELS, SPLITS, PEOPLE)]
    if columns[0] is None or (labels and columns[1] is None):
        wanted = "filepath,label" if labels else "filepath"
        raise ProjectError(
            f"the first line of {path} is {','.join(header) or 'empty'}: it must name the columns {wanted}"
        )
    for line, cells in rows:
        if any(cells):
            filepath, label, split, by = ("" if k is None or k >= len(cells) else cells[k] for k in columns)
            yield Row(line, filepath, clean(label), split, clean(by))


def parse_split(name: str) -> Split | None:
    """Returns the split that a folder or a cell names; None where it names none."""
    plain = name.strip().lower()
    return Split.TRAIN if plain in TRAIN_NAMES else Split.TEST if plain in TEST_NAMES else None


def clean(name: str) -> str:
    """Returns a label without surrounding blanks, its accented letters as single characters."""
    return unicodedata.normalize("NFC", name.strip())


def _column(header: Sequence[str], names: Sequence[str]) -> int | None:
    """Returns the column with the first of these names that stands in the header once."""
    plain = [clean(name).lower() for name in header]
    return next((plain.index(name) for name in names if plain.count(name) == 1), None)


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # -sig: spreadsheets put a mark before the header
            rows = csv.reader(file)
            for row in rows:
                yield rows.line_num, [unescape_cell(cell) for cell in row]
    except UnicodeDecodeError:
        raise ProjectError(f"{path} is not text in UTF-8: save it again as CSV UTF-8") from None
    except csv.Error as error:
        raise ProjectError(f"{path} is not a CSV file ({error}): its columns are filepath,label") from None


def _parquet_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        known = [name for name in file.schema_arrow.names if clean(name).lower() in {*PATHS, *LABELS, *SPLITS, *PEOPLE}]
        yield 1, known
        line = 0
        for batch in file.iter_batches(columns=known):
            for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                line += 1
                yield line, [_text(cell) for cell in row]
    except (OSError, pa.ArrowException) as error:
        raise ProjectError(f"{path} is not a Parquet file that can be read ({error}): write it again") from error


def _json_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yields the header and the rows of a file with a JSON object on each line."""
    header: list[str] = []
    try:
        for line, text in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
            if not text.strip():
                continue
            row = json.loads(text)
            if not header:
                header = [str(name) for name in row]
                yield line, header
            yield line, [_text(row.get(name)) for name in header]
    except (ValueError, AttributeError, TypeError) as error:
        raise ProjectError(f"{path} is not a file of JSON lines ({error}): write a JSON object on each line") from error


def _text(cell: Any) -> str:
    return "" if cell is None else cell.decode("utf-8", "replace") if isinstance(cell, bytes) else str(cell)
