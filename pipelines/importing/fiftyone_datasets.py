"""A dataset that FiftyOne keeps under a name is made into tables that an import reads: its images and their labels.

The database is the one that FiftyOne itself would use: what FIFTYONE_DATABASE_URI or its own settings name, else the
one in the user's home. It is read, never written to; a project's own MongoDB (`gradebook.storage.mongodb`) has no part
in it.
"""

import csv
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from gradebook.pipelines.importing.zip_archive import UNPACKED
from gradebook.pipelines.process.progress import stage
from gradebook.storage.files import atomic_path
from gradebook.storage.mongodb import URI
from gradebook.storage.project import ProjectError

PREFIX = "fiftyone:"  # begins the name of a dataset where a path could stand
USUAL = ("ground_truth", "label")  # fields in which labels are looked for first


def tables_of(root: Path, name: str, field: str | None) -> tuple[Path, str]:
    """Writes a dataset's images and labels as CSV files below the project.

    Args:
        root: the project's directory.
        name: the dataset's, as FiftyOne lists it.
        field: which of its fields holds the labels; without one `ground_truth`, `label`, or the only classification.

    Returns:
        The table of the images, and what says their labels, as `import_images` takes it.

    Raises:
        ProjectError: FiftyOne or its database is not there, or not this dataset or field, or it is not of images.
    """
    stage("Asking FiftyOne for the dataset")
    dataset = _loaded(name)
    if dataset.media_type not in (None, "image"):
        raise ProjectError(f"dataset {name} is of kind {dataset.media_type}: an import takes datasets of images")
    paths = dataset.values("filepath")
    chosen = _field(dataset, name, field)
    place = root / UNPACKED / f"fiftyone-{re.sub(r'[^A-Za-z0-9_.-]+', '-', name)}.csv"
    place.parent.mkdir(exist_ok=True)
    images = _written(place, ("filepath",), ((path,) for path in paths))
    if chosen is None:
        return images, "none"
    labels = zip(paths, dataset.values(f"{chosen}.label"), strict=True)
    told = place.with_name(f"{place.stem}-labels.csv")
    return images, str(_written(told, ("filepath", "label"), (row for row in labels if row[1] is not None)))


def _loaded(name: str) -> Any:
    os.environ.setdefault("FIFTYONE_DATABASE_VALIDATION", "false")  # MongoDB 6.0 works and is warned of
    os.environ.setdefault("FIFTYONE_DO_NOT_TRACK", "true")
    try:
        import fiftyone as fo

        known = fo.list_datasets()
    except Exception as error:  # whatever is missing: FiftyOne connects as it is imported, and fails in many ways
        said = str(error).strip().partition("\n")[0][:160] or type(error).__name__
        raise ProjectError(
            f"FiftyOne's database cannot be opened ({said}): install MongoDB with `uv sync --extra mongodb` (x86-64 "
            f"Linux), or set {URI} to the server that has the dataset"
        ) from error
    if name not in known:
        there = ", ".join(known[:8]) + (f" and {len(known) - 8} more" if len(known) > 8 else "")
        raise ProjectError(
            f"FiftyOne has no dataset {name}, it has {there or 'none'}: correct the name, or set {URI} to the database "
            "that has it"
        )
    return fo.load_dataset(name)


def _field(dataset: Any, name: str, asked: str | None) -> str | None:
    """Returns the field that holds the labels, None where there are none."""
    import fiftyone as fo

    known: Sequence[str] = list(dataset.get_field_schema(embedded_doc_type=fo.Classification))
    if asked is not None:
        if asked not in known:
            raise ProjectError(
                f"dataset {name} has no classifications {asked}: it has {', '.join(known) or 'none'}; "
                "one class an image is what can be imported"
            )
        return asked
    usual = next((one for one in USUAL if one in known), None)
    if usual is None and len(known) > 1:
        raise ProjectError(f"dataset {name} has several labels: say which with --labels, of {', '.join(known)}")
    return usual or next(iter(known), None)


def _written(place: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> Path:
    with atomic_path(place) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return place
