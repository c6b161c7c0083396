"""Exports the current labels for other programs: as a table, as JSON, or as folders of copies.

    csv      filepath, label, split, sample_id, by, at: what `gradebook import --labels` reads again
    parquet  the same columns
    coco     one JSON file that readers of COCO accept: each image has one annotation, whose box is the whole image
    folder   OUT/SPLIT/CLASS/FILE, copies of the images
    fiftyone OUT/labels.json, FiftyOne's FiftyOneImageClassificationDataset, which names the images where they are

Images are never moved or changed, and no existing file is overwritten. Labels of images whose file has changed since
it was imported are left out.
"""

import csv
import io
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gradebook.storage.images import BrokenImage
from gradebook.storage.project import ProjectError
from gradebook.storage.sample_files import CHANGED, changed_samples, content_of_sample

if TYPE_CHECKING:
    from gradebook.storage.store import Store

Form = Literal["csv", "parquet", "coco", "folder", "fiftyone"]
Progress = Callable[[int, int], None]  # images done, images in all
MAX_LISTED = 10  # files that are left out, in the summary
MAX_NAME_BYTES = 255  # of a file's name


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """The label of one sample."""

    filepath: str
    label: str
    split: str
    sample_id: str
    by: str  # the actor of the event that decides it
    at: str  # ISO 8601, UTC
    width: int  # pixels
    height: int  # pixels


COLUMNS = ("filepath", "label", "split", "sample_id", "by", "at")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelsExport:
    """The result of `gradebook export-labels`."""

    out: str
    format: str
    labels: int
    missing: int  # images that were left out because their file has changed or cannot be copied
    missing_files: tuple[tuple[str, str], ...]  # the file, and why

    def as_json(self) -> dict[str, Any]:
        """Returns it as plain data."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def labels_of(store: "Store") -> list[Label]:
    """Returns the current labels in order of import, without those of images whose file has changed since.

    Other programs find an image by its path, so they would take the new content for what was labelled.
    """
    return _labels_and_changed(store)[0]


def _labels_and_changed(store: "Store") -> tuple[list[Label], list[str]]:
    """Returns the current labels, and the files that have changed since they were imported."""
    from gradebook.storage.events import decisions

    decided = decisions(store.log.read())
    labelled = [
        (s, e) for s in store.catalog.samples() if (e := decided.get(s.sample_id)) is not None and e.label is not None
    ]
    changed = {s.filepath for s in changed_samples(store.catalog, [s for s, _ in labelled])}
    labels = [
        Label(
            filepath=s.filepath,
            label=str(e.label),
            split=s.split.value,
            sample_id=s.sample_id,
            by=e.actor,
            at=e.at.isoformat(),
            width=s.width,
            height=s.height,
        )
        for s, e in labelled
        if s.filepath not in changed
    ]
    return labels, sorted(changed)


def as_csv(labels: Sequence[Label]) -> bytes:
    """Returns a CSV file, UTF-8."""
    text = io.StringIO(newline="")
    rows = csv.DictWriter(text, COLUMNS, extrasaction="ignore")
    rows.writeheader()
    rows.writerows(asdict(label) for label in labels)
    return text.getvalue().encode("utf-8")


def as_parquet(labels: Sequence[Label]) -> bytes:
    """Returns a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, pa.string()) for name in COLUMNS])
    table = pa.table({name: [getattr(label, name) for label in labels] for name in COLUMNS}, schema=schema)
    content = io.BytesIO()
    pq.write_table(table, content)
    return content.getvalue()


def as_coco(labels: Sequence[Label], classes: Sequence[str]) -> bytes:
    """Returns a COCO file: categories count from 1 in the order of the classes; an image has its split."""
    names = dict.fromkeys([*classes, *(label.label for label in labels)])  # a label may be newer than the classes
    number = {name: n for n, name in enumerate(names, start=1)}
    images, annotations = [], []
    for n, label in enumerate(labels, start=1):
        size = {"width": label.width, "height": label.height}
        images.append({"id": n, "file_name": label.filepath, **size, "split": label.split})
        box = {"bbox": [0, 0, label.width, label.height], "area": label.width * label.height, "iscrowd": 0}
        annotations.append({"id": n, "image_id": n, "category_id": number[label.label], **box})
    categories = [{"id": n, "name": name} for name, n in number.items()]
    content = {"images": images, "annotations": annotations, "categories": categories}
    return (json.dumps(content, ensure_ascii=False) + "\n").encode("utf-8")


def export_labels(store: "Store", out: Path, form: Form, *, progress: Progress | None = None) -> LabelsExport:
    """Writes the current labels to `out`, whole or not at all.

    Args:
        store: the project.
        out: a new file for csv, parquet and coco; a new directory for folder and fiftyone.
        form: one of `Form`.
        progress: called with the number of images copied and the total.

    Raises:
        ProjectError: there are no labels, `out` exists, or a class cannot be a directory's name.
    """
    out = out.expanduser().absolute()
    (labels, changed), classes = _labels_and_changed(store), store.project.classes
    if not labels and not changed:
        raise ProjectError(f"{store.project.root} has no labels yet: label some images, then export again")
    if out.exists() and (out.is_file() or form not in ("folder", "fiftyone") or any(out.iterdir())):
        raise ProjectError(f"{out} exists already, and nothing is written over: choose a new name")
    draft = _draft(out)
    missing = [(path, CHANGED) for path in changed]
    try:
        if form == "folder":
            missing += _write_folder(labels, draft, progress or (lambda done, total: None))
        elif form == "fiftyone":
            _write_fiftyone(labels, classes, draft)
        else:
            draft.write_bytes(_file(labels, classes, form))
        draft.replace(out)
    finally:
        _remove(draft)
    written = len(labels) + len(changed) - len(missing)
    return LabelsExport(out=str(out), format=form, labels=written, missing=len(missing), missing_files=tuple(missing))


def summarize(result: dict[str, Any]) -> str:
    """Returns what was exported, and which files were left out."""
    lines = [f"{result['labels']} labels are in {result['out']}"]
    if result["missing"]:
        lines[0] += f"; {result['missing']} files have changed or cannot be copied, and were left out:"
        lines += [f"  {path}: {why}" for path, why in result["missing_files"][:MAX_LISTED]]
    return "\n".join(lines)


def _file(labels: Sequence[Label], classes: Sequence[str], form: str) -> bytes:
    return as_coco(labels, classes) if form == "coco" else as_csv(labels) if form == "csv" else as_parquet(labels)


def _write_folder(labels: Sequence[Label], directory: Path, progress: Progress) -> list[tuple[str, str]]:
    """Copies each image to SPLIT/CLASS; returns the files that cannot be copied, and why."""
    for name in sorted({label.label for label in labels}):
        _check_name(name)
    directory.mkdir()
    missing = []
    for n, label in enumerate(labels, start=1):
        folder = directory / label.split / label.label
        folder.mkdir(parents=True, exist_ok=True)
        source = Path(label.filepath)
        copy = folder / source.name
        if copy.exists():  # another image of that name, from another directory
            copy = folder / f"{label.sample_id}{source.suffix}"
        try:
            content = content_of_sample(source, label.sample_id)
        except BrokenImage as error:
            missing.append((label.filepath, str(error)))
        else:
            copy.write_bytes(content)
        progress(n, len(labels))
    return missing


def _check_name(name: str) -> None:
    if name.startswith(".") or "/" in name or "\\" in name or "\0" in name or len(name.encode()) > MAX_NAME_BYTES:
        raise ProjectError(f"the class {name!r} cannot be the name of a directory: export csv, parquet or coco instead")


def _write_fiftyone(labels: Sequence[Label], classes: Sequence[str], directory: Path) -> None:
    """Writes a FiftyOneImageClassificationDataset whose images are named by their absolute paths.

    https://docs.voxel51.com/user_guide/import_datasets.html#fiftyoneimageclassificationdataset; its `data.json`, for
    images elsewhere, is not found by FiftyOne 1.x unless it is named, and without a directory `data` it gives up.
    """
    entries = {
        label.filepath: {"label": label.label, "attributes": {"split": label.split, "by": label.by, "at": label.at}}
        for label in labels
    }
    (directory / "data").mkdir(parents=True)
    content = {"classes": list(classes), "labels": entries}
    (directory / "labels.json").write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")


def _draft(out: Path) -> Path:
    """Returns an unused path beside `out`, to be renamed to it when all is written."""
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.parent / f".{out.name}.draft"
    _remove(draft)
    return draft


def _remove(draft: Path) -> None:
    if draft.is_dir():
        shutil.rmtree(draft, ignore_errors=True)
    else:
        draft.unlink(missing_ok=True)
