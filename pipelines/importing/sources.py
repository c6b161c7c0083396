"""What an import may be pointed at: a zip, or a dataset in FiftyOne's form, is made into what `import_images` reads."""

import csv
import json
from pathlib import Path
from typing import Any

from gradebook.pipelines.importing.fiftyone_datasets import PREFIX, tables_of
from gradebook.pipelines.importing.zip_archive import UNPACKED, Progress, unpack
from gradebook.storage.files import atomic_path
from gradebook.storage.project import ProjectError

LABELS = "labels.json"  # of FiftyOne's FiftyOneImageClassificationDataset
MANIFEST = "data.json"  # of the same, where its images lie elsewhere


def opened_source(root: Path, images: Path, labels: str, progress: Progress | None = None) -> tuple[Path, str]:
    """Returns the folder or table to import, and where its labels come from.

    A zip is unpacked below the project; labels may then name a CSV file in it. A folder with FiftyOne's labels.json
    becomes a table of the images that it names, and its labels are taken along unless they come from elsewhere; so
    does a dataset that FiftyOne keeps under a name (`gradebook.pipelines.importing.fiftyone_datasets`), whose labels
    may also name a field.

    Args:
        root: the project's directory.
        images: what was asked for: a path, or fiftyone:NAME.
        labels: as `import_images` takes them.
        progress: is called with the files unpacked and those to unpack.

    Raises:
        ProjectError: the zip or the dataset cannot be used.
    """
    if str(images).startswith(PREFIX):
        elsewhere = labels == "folders" or Path(labels).expanduser().is_file()
        own = None if labels == "none" or elsewhere else labels
        table, own_labels = tables_of(root, str(images).removeprefix(PREFIX), own)
        return table, labels if elsewhere else own_labels
    images = images.expanduser().absolute()
    if images.is_file() and images.suffix.lower() == ".zip":
        folder = unpack(images, root, progress=progress)
        inside = folder / labels
        return folder, str(inside) if labels not in ("none", "folders") and inside.is_file() else labels
    if (images / LABELS).is_file() and _is_fiftyone(images / LABELS):
        table = _table(root, images)
        return table, str(table) if labels == "none" else labels
    return images, labels


def _is_fiftyone(path: Path) -> bool:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(value, dict) and isinstance(value.get("labels"), dict)


def _table(root: Path, dataset: Path) -> Path:
    """Writes the images, labels and splits of FiftyOne's dataset as a CSV file below the project."""
    payload = json.loads((dataset / LABELS).read_text(encoding="utf-8"))
    files = _files(dataset)
    rows = [
        (_image_path(dataset, files, name), _label(payload.get("classes"), label), _split(label))
        for name, label in payload["labels"].items()
    ]
    (root / UNPACKED).mkdir(exist_ok=True)
    table = root / UNPACKED / f"{dataset.name}.csv"
    with atomic_path(table) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("filepath", "label", "split"), *rows])
    return table


def _split(label: Any) -> str:
    """Returns the split among a label's attributes, where `gradebook export-labels` writes it; empty without one."""
    attributes = label.get("attributes") if isinstance(label, dict) else None
    return str(attributes.get("split", "")) if isinstance(attributes, dict) else ""


def _files(dataset: Path) -> dict[str, str]:
    """Returns where the images are, by their name in the labels: the path without its ending."""
    if (dataset / MANIFEST).is_file():
        manifest = json.loads((dataset / MANIFEST).read_text(encoding="utf-8"))
        return {str(Path(name).with_suffix("")): str(dataset / path) for name, path in manifest.items()}
    data = dataset / "data"
    return {str(path.relative_to(data).with_suffix("")): str(path) for path in data.rglob("*") if path.is_file()}


def _image_path(dataset: Path, files: dict[str, str], name: str) -> str:
    return name if Path(name).is_absolute() else files.get(name, str(dataset / "data" / name))


def _label(classes: Any, value: Any) -> str:
    """Returns the class that a label names: a name, a number in the list of classes, or a dict with either."""
    label = value.get("label") if isinstance(value, dict) else value
    if isinstance(label, int) and isinstance(classes, list) and 0 <= label < len(classes):
        return str(classes[label])
    if label is None or isinstance(label, str):
        return label or ""
    raise ProjectError(f"a label of the FiftyOne dataset is {value!r}: one class an image is what can be imported")
