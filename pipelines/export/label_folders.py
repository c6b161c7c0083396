"""Exports that are directories: images in folders, FiftyOne's labels.json, and Parquet with images inside."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gradebook.pipelines.export.label_rows import Label
from gradebook.storage.characters import has_control
from gradebook.storage.images import BrokenImage, decode
from gradebook.storage.project import ProjectError
from gradebook.storage.sample_files import content_of_sample

Progress = Callable[[int, int], None]  # images done, images in all
MAX_NAME_BYTES = 255  # of a file's name
CHECKED_SIDE = 64  # pixels at which an image is decoded to see that it is one
ROW_GROUP = 100  # images that are in memory at once


def write_folder(labels: Sequence[Label], directory: Path, progress: Progress) -> list[tuple[str, str]]:
    """Copies each image to SPLIT/CLASS; returns the files that cannot be copied, and why."""
    for name in sorted({label.label for label in labels}):
        _check_name(name)
    missing = []
    for n, label in enumerate(labels, start=1):
        try:
            content = _image_content(label)
        except BrokenImage as error:
            missing.append((label.filepath, str(error)))
        else:
            _copy_to(directory / label.split / label.label, label, content)
        progress(n, len(labels))
    return missing


def _image_content(label: Label) -> bytes:
    """Returns the content of a label's image.

    A catalogue may come from somebody else and name any file of this machine, such as a key. So only a file that has
    the content that was imported, and is an image, is copied.

    Raises:
        BrokenImage: it cannot be read, holds other content, or is not an image.
    """
    path = Path(label.filepath)
    if path.exists() and not path.is_file():
        raise BrokenImage("it is not a file")
    content = content_of_sample(path, label.sample_id)
    decode(content, CHECKED_SIDE)
    return content


def _copy_to(folder: Path, label: Label, content: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    source = Path(label.filepath)
    path = folder / source.name
    if path.exists():  # another image of that name, from another directory
        path = folder / f"{label.sample_id}{source.suffix}"
    path.write_bytes(content)


def _check_name(name: str) -> None:
    if name.startswith(".") or "/" in name or "\\" in name or has_control(name) or len(name.encode()) > MAX_NAME_BYTES:
        raise ProjectError(f"the class {name!r} cannot be the name of a directory: export csv, parquet or coco instead")


def write_fiftyone(labels: Sequence[Label], classes: Sequence[str], directory: Path) -> None:
    """Writes a FiftyOneImageClassificationDataset whose images are named by their absolute paths.

    https://docs.voxel51.com/user_guide/import_datasets.html#fiftyoneimageclassificationdataset; its `data.json`, for
    images elsewhere, is not found by FiftyOne 1.x unless it is named, and without a directory `data` it gives up.
    A prediction has its probability as the confidence, and that of each class as the attribute `probabilities`.
    """
    entries = {label.filepath: _fiftyone_entry(label, classes) for label in labels}
    (directory / "data").mkdir(parents=True)
    content = {"classes": list(classes), "labels": entries}
    (directory / "labels.json").write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")


def _fiftyone_entry(label: Label, classes: Sequence[str]) -> dict[str, Any]:
    attributes: dict[str, Any] = {"split": label.split, "by": label.by, "at": label.at}
    if label.probability is None:
        return {"label": label.label, "attributes": attributes}
    attributes["probabilities"] = dict(zip(classes, label.probabilities, strict=True))
    return {"label": label.label, "confidence": label.probability, "attributes": attributes}


def write_hugging_face(
    labels: Sequence[Label], classes: Sequence[str], directory: Path, progress: Progress
) -> list[tuple[str, str]]:
    """Writes a Parquet file for each split, with the images inside, as `datasets.load_dataset(DIRECTORY)` reads it.

    Returns:
        The files that cannot be copied, and why.
    """
    names = list(dict.fromkeys([*classes, *(label.label for label in labels)]))
    missing: list[tuple[str, str]] = []
    (directory / "data").mkdir()
    done = 0
    for split in sorted({label.split for label in labels}):
        part = [label for label in labels if label.split == split]
        with _parquet_writer(directory / "data" / f"{split}-00000-of-00001.parquet", names) as writer:
            for start in range(0, len(part), ROW_GROUP):
                group = part[start : start + ROW_GROUP]
                rows = [row for label in group if (row := _image_row(label, names, missing)) is not None]
                writer.write_batch(_record_batch(rows, writer.schema))
                done += len(group)
                progress(done, len(labels))
    return missing


def _parquet_writer(path: Path, names: Sequence[str]) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = {"dtype": "string", "_type": "Value"}
    features = {"image": {"_type": "Image"}, "label": {"names": list(names), "_type": "ClassLabel"}}
    features |= {"sample_id": text, "by": text}
    image = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    schema = pa.schema({"image": image, "label": pa.int64(), "sample_id": pa.string(), "by": pa.string()})
    return pq.ParquetWriter(path, schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})}))


def _record_batch(rows: Sequence[dict[str, Any]], schema: Any) -> Any:
    import pyarrow as pa

    return pa.RecordBatch.from_pylist(list(rows), schema=schema)


def _image_row(label: Label, names: Sequence[str], missing: list[tuple[str, str]]) -> dict[str, Any] | None:
    try:
        content = _image_content(label)
    except BrokenImage as error:
        missing.append((label.filepath, str(error)))
        return None
    image = {"bytes": content, "path": Path(label.filepath).name}
    return {"image": image, "label": names.index(label.label), "sample_id": label.sample_id, "by": label.by}
