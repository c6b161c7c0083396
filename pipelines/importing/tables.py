"""Reads tables of images: CSV, Parquet or JSON lines, with common names for paths, labels, splits and annotators."""

import csv
import itertools
import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradebook.storage.csv_cells import unescape_cell
from gradebook.storage.project import ProjectError
from gradebook.storage.samples import Split

TABLES = (".csv", ".tsv", ".parquet", ".jsonl")
# Column names, the first that a table has. Upper case, blanks, hyphens and underscores do not matter.
PATHS = (
    *("filepath", "file_path", "path", "image", "image_path", "file_name", "filename", "file", "img", "img_path"),
    *("image_file", "image_file_name", "image_name", "img_file", "img_name", "picture", "photo"),
    *("image_id", "img_id"),
)
LABELS = (
    *("label_name", "class_name", "category_name", "label", "class", "category", "target", "labels", "class_label"),
    *("target_name", "target_label", "image_label", "tag", "annotation", "ground_truth", "truth"),
    *("class_id", "category_id", "label_id"),
)
SPLITS = ("split", "subset", "data_split")
PEOPLE = ("by", "annotator", "labeler", "labelled_by", "labeled_by", "annotated_by")
SEPARATORS = ",;\t|"  # of a CSV file: the first that gives its first line a column of images
TRAIN_NAMES = frozenset({"train", "training"})
# Validation images are never trained on, so they are test images.
TEST_NAMES = frozenset({"test", "testing", "val", "valid", "validation", "dev"})


@dataclass(frozen=True, slots=True)
class ColumnNames:
    """The columns of images and of labels that a person named; None: by their names, see `PATHS` and `LABELS`."""

    image: str | None = None
    label: str | None = None


BY_NAME = ColumnNames()


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table, unchanged; what a table does not have is empty."""

    line: int  # in a CSV file; the row in a Parquet file, from 1
    filepath: str
    label: str
    split: str
    by: str = ""  # who labelled it


def read_table(path: Path, *, labels: bool, columns: ColumnNames = BY_NAME) -> Iterator[Row]:
    """Yields the rows that are not empty.

    Args:
        path: a .parquet or .jsonl file, or else a CSV file, with any of `SEPARATORS`.
        labels: whether the table must have a column of labels.
        columns: the columns that a person named.

    Raises:
        ProjectError: it is no such table, or lacks a column of paths, or of labels.
    """
    images = PATHS if columns.image is None else (columns.image,)
    wanted = (images, LABELS if columns.label is None else (columns.label,), SPLITS, PEOPLE)
    rows = _rows(path, wanted)
    _, header = next(rows, (1, []))
    found = [find_column(header, names) for names in wanted]
    if found[0] is None:
        raise ProjectError(_missing(path, header, "images", "filepath", columns.image))
    if labels and found[1] is None:
        raise ProjectError(_missing(path, header, "labels", "label", columns.label))
    for line, cells in rows:
        if any(cells):
            try:
                filepath, label, split, by = ("" if k is None or k >= len(cells) else _text(cells[k]) for k in found)
            except ValueError as error:
                raise ProjectError(f"{path}, row {line}: {error}") from None
            yield Row(line, filepath, clean(label), split, clean(by))


def unread_labels(path: Path, columns: ColumnNames = BY_NAME) -> str | None:
    """Returns the column of labels in a table of images, None if it has none or is no table."""
    if path.suffix.lower() not in TABLES or not path.is_file():
        return None
    _, header = next(_rows(path, [PATHS if columns.image is None else (columns.image,)]), (1, []))
    column = find_column(header, LABELS if columns.label is None else (columns.label,))
    return None if column is None else header[column]


def find_column(header: Sequence[str], names: Sequence[str]) -> int | None:
    """Returns the column with the first of these names that stands in the header once."""
    plain = [_plain(name) for name in header]
    return next((plain.index(_plain(name)) for name in names if plain.count(_plain(name)) == 1), None)


def parse_split(name: str) -> Split | None:
    """Returns the split that a folder or a cell names; None where it names none."""
    plain = name.strip().lower()
    return Split.TRAIN if plain in TRAIN_NAMES else Split.TEST if plain in TEST_NAMES else None


def clean(name: str) -> str:
    """Returns a label without surrounding blanks, its accented letters as single characters."""
    return unicodedata.normalize("NFC", name.strip())


def _plain(name: str) -> str:
    """Returns a column's name without what people write differently: file_name, File Name and file-name are one."""
    return re.sub(r"[\s_-]+", "", clean(name).lower())


def _missing(path: Path, header: Sequence[str], what: str, name: str, given: str | None) -> str:
    """Returns the message for a table without a column that is needed."""
    if names := [one for one in header if [*map(_plain, header)].count(_plain(one)) > 1 and _plain(one)]:
        return f"{path} has two columns {names[0]}: rename the one that is not meant"
    seen = f"has the columns {', '.join(header)}" if any(header) else "names no columns in its first line"
    if given is not None:
        return f"{path} {seen}: --{what[:-1]}-column {given} must name one of them that occurs once"
    return (
        f"{path} {seen}, and none is recognised as the column of {what}: rename it to {name}, "
        f"or name it with --{what[:-1]}-column NAME of gradebook import or label"
    )


def _rows(path: Path, wanted: Sequence[Sequence[str]]) -> Iterator[tuple[int, list[Any]]]:
    """Yields the names of the columns, then the rows, each with its number; those of images are the first wanted."""
    if path.suffix.lower() == ".parquet":
        return _parquet_rows(path, wanted)
    return _json_rows(path) if path.suffix.lower() == ".jsonl" else _csv_rows(path, wanted[0])


def _csv_rows(path: Path, images: Sequence[str]) -> Iterator[tuple[int, list[Any]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # -sig: spreadsheets put a mark before the header
            first = file.readline()
            declared = re.fullmatch(r"sep=(.)\s*", first)  # a line that spreadsheets write and read
            separator = declared[1] if declared else _separator(first, images)
            rows = csv.reader(file if declared else itertools.chain([first], file), delimiter=separator)
            for row in rows:
                yield rows.line_num + bool(declared), [unescape_cell(cell) for cell in row]
    except UnicodeDecodeError:
        raise ProjectError(f"{path} is not text in UTF-8: save it again as CSV UTF-8") from None
    except csv.Error as error:
        raise ProjectError(f"{path} is not a CSV file ({error}): its columns are filepath,label") from None


def _separator(header: str, images: Sequence[str]) -> str:
    """Returns the separator of a CSV file whose first line this is."""
    split = {separator: next(csv.reader([header], delimiter=separator), []) for separator in SEPARATORS}
    known = (separator for separator, names in split.items() if find_column(names, images) is not None)
    return next(known, None) or max(SEPARATORS, key=lambda separator: len(split[separator]))


def _parquet_rows(path: Path, wanted: Sequence[Sequence[str]]) -> Iterator[tuple[int, list[Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        names = file.schema_arrow.names
        yield 1, names
        needed = {k for group in wanted if (k := find_column(names, group)) is not None}
        line = 0
        for batch in file.iter_batches(columns=[names[k] for k in sorted(needed)]):
            cells = iter(column.to_pylist() for column in batch.columns)
            columns = [next(cells) if k in needed else itertools.repeat("") for k in range(len(names))]
            for row in zip(*columns, strict=False):
                line += 1
                yield line, list(row)
    except (OSError, pa.ArrowException) as error:
        raise ProjectError(f"{path} is not a Parquet file that can be read ({error}): write it again") from error


def _json_rows(path: Path) -> Iterator[tuple[int, list[Any]]]:
    """Yields the header and the rows of a file with a JSON object on each line."""
    try:
        lines = enumerate(path.read_text(encoding="utf-8-sig").split("\n"), start=1)  # U+2028 may be part of a name
        rows = [(line, json.loads(text)) for line, text in lines if text.strip()]
        header = list(dict.fromkeys(str(name) for _, row in rows for name in row.keys()))  # noqa: SIM118  # no list
        yield 1, header
        for line, row in rows:
            yield line, [row.get(name) for name in header]
    except (ValueError, AttributeError, TypeError) as error:
        raise ProjectError(f"{path} is not a file of JSON lines ({error}): write a JSON object on each line") from error


def _text(cell: Any) -> str:
    """Returns a cell as text; whole numbers are floats in a column that has gaps, and a gap may be not a number.

    Raises:
        ValueError: it is a list or an object, or bytes that are not UTF-8.
    """
    if isinstance(cell, (list, dict)):
        raise ValueError(f"{cell!r} is not one value: an image has one path and one label")
    if cell is None or cell != cell:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return cell.decode() if isinstance(cell, bytes) else str(cell)
