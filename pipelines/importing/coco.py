"""Reads image classes from COCO JSON files, such as `gradebook export-labels --format coco` writes."""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from gradebook.pipelines.importing.file_names import DiskNames
from gradebook.storage.files import atomic_path
from gradebook.storage.project import ProjectError

SUFFIX = ".json"
IMAGE_FOLDERS = (".", "images", "..", "../images")  # where images lie, as seen from the JSON file; the first that has


def write_tables(source: Path, directory: Path) -> tuple[Path, Path]:
    """Writes the images and the labels of a COCO file as CSV files.

    The class of an image is the category of its annotations. Where these have several, the import reports a conflict.

    Args:
        source: a JSON file with images, annotations and categories.
        directory: where to write; it is made if it does not exist.

    Returns:
        The table of images with their splits, and the table of labels.

    Raises:
        ProjectError: the file cannot be read, or is not a COCO file.
    """
    content = _read(source)
    try:
        files = {row["id"]: str(row["file_name"]) for row in content["images"]}
        splits = {row["id"]: str(row.get("split") or "") for row in content["images"]}
        names = {row["id"]: str(row["name"]) for row in content["categories"]}
        labels = dict.fromkeys((row["image_id"], names[row["category_id"]]) for row in content["annotations"])
        paths = dict(zip(files, _located(list(files.values()), source.parent), strict=True))
        rows = [(paths[image], name) for image, name in labels]
    except (KeyError, TypeError, AttributeError) as error:
        raise ProjectError(
            f"{source} is not a COCO file ({type(error).__name__}: {error}): it needs images, "
            "annotations and categories"
        ) from error
    directory.mkdir(exist_ok=True)
    images = _write(
        directory / f"{source.stem}-coco.csv", ("filepath", "split"), zip(paths.values(), splits.values(), strict=True)
    )
    return images, _write(directory / f"{source.stem}-coco-labels.csv", ("filepath", "label"), rows)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ProjectError(f"{path} cannot be read as COCO JSON ({error}): give a JSON file") from error


def _located(names: Sequence[str], folder: Path) -> Iterator[str]:
    """Yields the paths of the images, relative to the first of `IMAGE_FOLDERS` that has one of the first images."""
    disk = DiskNames()
    folders = [folder / name for name in IMAGE_FOLDERS]
    first = (base for base in folders for name in names[:10] if Path(disk.find(name, base)).is_file())
    base = next(first, folder)
    return (disk.find(name, base) for name in names)


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> Path:
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path
