"""Turns zip files and the data sets of other programs into folders and tables that `import_images` reads."""

import csv
import json
import unicodedata
from pathlib import Path
from typing import Any

from gradebook.pipelines.importing import coco, cvat, label_studio
from gradebook.pipelines.importing.coco import IMAGE_FOLDERS
from gradebook.pipelines.importing.fiftyone_datasets import PREFIX, write_tables
from gradebook.pipelines.importing.file_discovery import walk
from gradebook.pipelines.importing.hugging_face import is_hugging_face
from gradebook.pipelines.importing.hugging_face import write_table as hugging_face_table
from gradebook.pipelines.importing.source_tables import write_rows
from gradebook.pipelines.importing.zip_archive import UNPACKED, Progress, unpack
from gradebook.storage.files import atomic_path
from gradebook.storage.project import ProjectError

LABELS = "labels.json"  # of FiftyOne's FiftyOneImageClassificationDataset
ANNOTATIONS = (coco.SUFFIX, cvat.SUFFIX)
MANIFEST = "data.json"  # of the same, where its images lie elsewhere


def opened_source(root: Path, images: Path, labels: str, progress: Progress | None = None) -> tuple[Path, str]:
    """Returns the folder or table to import, and where its labels come from.

    A zip is unpacked below the project; labels may then name a CSV file in it. JSON files of COCO and Label Studio, XML
    files of CVAT, data sets of Hugging Face, a folder with FiftyOne's labels.json, and a dataset in FiftyOne's database
    become tables below the project, and their labels are imported unless `labels` says otherwise.

    Args:
        root: the project's directory.
        images: what to import: a path, or fiftyone:NAME.
        labels: as `import_images` takes them; also a file of COCO, Label Studio or CVAT; of a dataset in FiftyOne's
            database also a field.
        progress: called with the number of files unpacked and the total.

    Raises:
        ProjectError: the zip, the file or the dataset cannot be used.
    """
    if Path(labels).suffix.lower() in ANNOTATIONS and Path(labels).expanduser().is_file():
        labels = str(_annotation_tables(root, Path(labels).expanduser().absolute(), images)[1])
    if str(images).startswith(PREFIX):
        is_elsewhere = labels == "folders" or Path(labels).expanduser().is_file()
        field = None if labels == "none" or is_elsewhere else labels
        table, own_labels = write_tables(root, str(images).removeprefix(PREFIX), field)
        return table, labels if is_elsewhere else own_labels
    images = images.expanduser().absolute()
    if images.is_file() and images.suffix.lower() == ".zip":
        folder = unpack(images, root, progress=progress)
        inside = folder / labels
        return folder, str(inside) if labels not in ("none", "folders") and inside.is_file() else labels
    if images.is_file() and images.suffix.lower() in ANNOTATIONS:
        table, own = _annotation_tables(root, images, images.parent)
        return table, str(own) if labels == "none" else labels
    if images.exists() and is_hugging_face(images):
        table = hugging_face_table(root, images, progress)
        return table, str(table) if labels == "none" else labels
    if (images / LABELS).is_file() and _is_fiftyone(images / LABELS):
        table = _write_table(root, images)
        return table, str(table) if labels == "none" else labels
    return images, labels


def _annotation_tables(root: Path, source: Path, images: Path) -> tuple[Path, Path]:
    """Returns the tables of images and of labels in a file of COCO, Label Studio or CVAT.

    Args:
        root: the project's directory.
        source: the file, absolute.
        images: the images that are imported, or where they may be.
    """
    images = images.expanduser().absolute()
    near = [source.parent / name for name in IMAGE_FOLDERS]
    folders = list(dict.fromkeys([images if images.is_dir() else images.parent, *near]))
    if source.suffix.lower() == cvat.SUFFIX:
        table = write_rows(root, source, cvat.read_rows(source, folders))
        return table, table
    content = _read_json(source)
    if label_studio.is_label_studio(content):
        table = write_rows(root, source, label_studio.read_rows(source, content, folders))
        return table, table
    return coco.write_tables(source, root / UNPACKED)


def _read_json(path: Path) -> Any:
    """Returns the content of a JSON file, None if it is none: the reader of COCO says what is wrong."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _is_fiftyone(path: Path) -> bool:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and isinstance(content.get("labels"), dict)


def _write_table(root: Path, dataset: Path) -> Path:
    """Writes the images, labels and splits of a FiftyOneImageClassificationDataset as a CSV file below the project."""
    content = json.loads((dataset / LABELS).read_text(encoding="utf-8"))
    files = _image_files(dataset)
    rows = [
        (_image_path(dataset, files, name), _label(content.get("classes"), label), _split(label))
        for name, label in content["labels"].items()
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


def _image_files(dataset: Path) -> dict[str, str]:
    """Returns the paths of the images by their keys in labels.json: the path without its suffix."""
    if (dataset / MANIFEST).is_file():
        manifest = json.loads((dataset / MANIFEST).read_text(encoding="utf-8"))
        return {_key(name): str(dataset / path) for name, path in manifest.items()}
    data = dataset / "data"
    paths = (Path(path) for path, why in walk(str(data), is_sorted=True) if not why)
    return {_key(str(path.relative_to(data))): str(path) for path in paths}


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", str(Path(name.replace("\\", "/")).with_suffix("")))


def _image_path(dataset: Path, files: dict[str, str], name: str) -> str:
    if Path(name).is_absolute():
        return name
    key = unicodedata.normalize("NFC", name.replace("\\", "/"))
    return files.get(key) or files.get(_key(name)) or str(dataset / "data" / name)


def _label(classes: Any, value: Any) -> str:
    """Returns the class that a label names: a name, a number in the list of classes, or a dict with either."""
    label = value.get("label") if isinstance(value, dict) else value
    if isinstance(label, int) and isinstance(classes, list) and 0 <= label < len(classes):
        return str(classes[label])
    if label is None or isinstance(label, str):
        return label or ""
    raise ProjectError(f"a label of the FiftyOne dataset is {value!r}: only one class per image can be imported")
