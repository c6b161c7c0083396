"""Reads the images and labels of a dataset in FiftyOne's database.

The database is the one that FiftyOne itself uses: at FIFTYONE_DATABASE_URI, as its settings say, or in the user's home.
Nothing is written to it. A project's own MongoDB (`gradebook.storage.mongodb`) is another one.
"""

import csv
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from gradebook.pipelines.importing.zip_archive import UNPACKED
from gradebook.pipelines.process.progress import stage
from gradebook.storage.csv_cells import escape_cell
from gradebook.storage.files import atomic_path
from gradebook.storage.install_advice import install_command
from gradebook.storage.mongod import URI
from gradebook.storage.project import ProjectError

PREFIX = "fiftyone:"  # before the name of a dataset, instead of a path
USUAL_FIELDS = ("ground_truth", "label")  # of labels, the first that a dataset has


def write_tables(root: Path, name: str, field: str | None) -> tuple[Path, str]:
    """Writes a dataset's images and labels as CSV files below the project.

    Args:
        root: the project's directory.
        name: the dataset's, as FiftyOne lists it.
        field: the field with the labels; None for `ground_truth`, `label`, or the only classification.

    Returns:
        The table of the images, and the source of their labels, as `import_images` takes it.

    Raises:
        ProjectError: FiftyOne, its database, the dataset or the field is missing, or the dataset is not of images.
    """
    stage("Asking FiftyOne for the dataset")
    dataset = _load(name)
    if dataset.media_type not in (None, "image"):
        raise ProjectError(f"dataset {name} is of kind {dataset.media_type}: an import takes datasets of images")
    paths = dataset.values("filepath")
    chosen = _label_field(dataset, name, field)
    table = root / UNPACKED / f"fiftyone-{re.sub(r'[^A-Za-z0-9_.-]+', '-', name)}.csv"
    table.parent.mkdir(exist_ok=True)
    images = _write(table, ("filepath",), ((path,) for path in paths))
    if chosen is None:
        return images, "none"
    labels = zip(paths, dataset.values(f"{chosen}.label"), strict=True)
    label_table = table.with_name(f"{table.stem}-labels.csv")
    return images, str(_write(label_table, ("filepath", "label"), (row for row in labels if row[1] is not None)))


def _load(name: str) -> Any:
    os.environ.setdefault("FIFTYONE_DATABASE_VALIDATION", "false")  # MongoDB 6.0 works, with a warning
    os.environ.setdefault("FIFTYONE_DO_NOT_TRACK", "true")
    try:
        import fiftyone as fo

        names = fo.list_datasets()
    except Exception as error:  # FiftyOne connects as it is imported, and fails in many ways
        message = str(error).strip().partition("\n")[0][:160] or type(error).__name__
        raise ProjectError(
            f"FiftyOne's database cannot be opened ({message}): install MongoDB with `{install_command('mongodb')}` "
            f"(x86-64 Linux), or set {URI} to the server that has the dataset"
        ) from error
    if name not in names:
        existing = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        raise ProjectError(
            f"FiftyOne has no dataset {name}, it has {existing or 'none'}: correct the name, or set {URI} to the "
            "database that has it"
        )
    return fo.load_dataset(name)


def _label_field(dataset: Any, name: str, requested: str | None) -> str | None:
    """Returns the field that holds the labels, None where there are none."""
    import fiftyone as fo

    fields: Sequence[str] = list(dataset.get_field_schema(embedded_doc_type=fo.Classification))
    if requested is not None:
        if requested not in fields:
            raise ProjectError(
                f"dataset {name} has no classifications {requested}: it has {', '.join(fields) or 'none'}; "
                "only one class per image can be imported"
            )
        return requested
    usual = next((field for field in USUAL_FIELDS if field in fields), None)
    if usual is None and len(fields) > 1:
        raise ProjectError(f"dataset {name} has several labels: say which with --labels, of {', '.join(fields)}")
    return usual or next(iter(fields), None)


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> Path:
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *(map(escape_cell, row) for row in rows)])
    return path
