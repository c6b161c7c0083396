"""Exports the current labels for other programs: as a table, as JSON, or as folders of copies.

    csv      filepath, label, split, sample_id, by, at: what `gradebook import --labels` reads again
    parquet  the same columns
    coco     one JSON file that readers of COCO accept: each image has one annotation, whose box is the whole image
    folder   OUT/SPLIT/CLASS/FILE, copies of the images
    fiftyone OUT/labels.json, FiftyOne's FiftyOneImageClassificationDataset, which names the images where they are

Images are never moved or changed. Nothing that exists is overwritten, except the directory of an earlier export in the
same format (`gradebook.pipelines.export.directory`). Labels of images whose file has changed since it was imported are
left out.

A spreadsheet would run a cell that begins with =, for example. In CSV such cells get an apostrophe in front, which an
import takes away again (`gradebook.storage.csv_cells`).
"""

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from gradebook.pipelines.export.directory import check_target, written_directory
from gradebook.storage.characters import escaped, has_control
from gradebook.storage.csv_cells import escape_cell
from gradebook.storage.files import create_exclusive
from gradebook.storage.images import BrokenImage, decode
from gradebook.storage.project import ProjectError
from gradebook.storage.sample_files import CHANGED, changed_samples, content_of_sample

if TYPE_CHECKING:
    from gradebook.storage.store import Store

Form = Literal["csv", "parquet", "coco", "folder", "fiftyone"]
Progress = Callable[[int, int], None]  # images done, images in all
MAX_LISTED = 10  # files that are left out, in the summary
MAX_NAME_BYTES = 255  # of a file's name
REJECTED = "rejected"  # in the place of a label
CHECKED_SIDE = 64  # pixels at which an image is decoded to see that it is one


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
    replaced: bool  # whether an earlier export was in the directory

    def as_json(self) -> dict[str, Any]:
        """Returns it as plain data."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def check_format(name: str) -> Form:
    """Returns the format of that name.

    Raises:
        ProjectError: there is none.
    """
    if name not in get_args(Form):
        raise ProjectError(f"there is no format {name!r}: choose one of {', '.join(get_args(Form))}")
    return cast(Form, name)


def labels_of(store: "Store", *, rejected: bool = False) -> list[Label]:
    """Returns the current labels in order of import, without those of images whose file has changed since.

    Other programs find an image by its path, so they would take the new content for what was labelled.

    Args:
        store: the project.
        rejected: whether to return the rejected images instead, with `REJECTED` as their label.
    """
    return _labels_and_changed(store, rejected)[0]


def _labels_and_changed(store: "Store", rejected: bool) -> tuple[list[Label], list[str]]:
    """Returns the current labels, and the files that have changed since they were imported."""
    from gradebook.storage.events import decisions

    decided = decisions(store.log.read())
    labelled = [
        (s, e)
        for s in store.catalog.samples()
        if (e := decided.get(s.sample_id)) is not None and (e.label is None) == rejected
    ]
    changed = {s.filepath for s in changed_samples(store.catalog, [s for s, _ in labelled])}
    labels = [
        Label(
            filepath=s.filepath,
            label=e.label or REJECTED,
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
    rows = csv.writer(text)
    rows.writerow(COLUMNS)
    rows.writerows([escape_cell(getattr(label, name)) for name in COLUMNS] for label in labels)
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


def export_labels(
    store: "Store", out: Path, form: Form, *, rejected: bool = False, progress: Progress | None = None
) -> LabelsExport:
    """Writes the current labels to `out`, whole or not at all.

    Args:
        store: the project.
        out: a new file for csv, parquet and coco; for folder and fiftyone a directory that is new, empty, or what an
            earlier export in this format wrote.
        form: one of `Form`.
        rejected: whether to export the rejected images instead, as if `REJECTED` were their label.
        progress: called with the number of images copied and the total.

    Raises:
        ProjectError: there are no labels, `out` exists, or a class cannot be a directory's name.
    """
    out = out.expanduser().absolute()
    (labels, changed), classes = _labels_and_changed(store, rejected), store.project.classes
    if not labels and not changed and rejected:
        raise ProjectError(f"{store.project.root} has no rejected image")
    if not labels and not changed:
        raise ProjectError(f"{store.project.root} has no labels yet: label some images, then export again")
    missing = [(path, CHANGED) for path in changed]
    replaced = False
    if form in ("folder", "fiftyone"):
        replaced = check_target(out.resolve(), form)
        with written_directory(out, form) as directory:
            if form == "folder":
                missing += _write_folder(labels, directory, progress or (lambda done, total: None))
            else:
                _write_fiftyone(labels, classes, directory)
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        if not create_exclusive(out, _file(labels, classes, form)):
            raise ProjectError(f"{out} exists already, and nothing is written over: choose a new name")
    return LabelsExport(
        out=str(out),
        format=form,
        labels=len(labels) + len(changed) - len(missing),
        missing=len(missing),
        missing_files=tuple(missing),
        replaced=replaced,
    )


def summarize(result: dict[str, Any]) -> str:
    """Returns what was exported, and which files were left out."""
    before = ", in place of an earlier export" if result["replaced"] else ""
    lines = [f"{result['labels']} labels are in {result['out']}{before}"]
    if result["missing"]:
        lines[0] += f"; {result['missing']} files have changed or cannot be copied, and were left out:"
        lines += [f"  {escaped(path)}: {why}" for path, why in result["missing_files"][:MAX_LISTED]]
    return "\n".join(lines)


def _file(labels: Sequence[Label], classes: Sequence[str], form: str) -> bytes:
    return as_coco(labels, classes) if form == "coco" else as_csv(labels) if form == "csv" else as_parquet(labels)


def _write_folder(labels: Sequence[Label], directory: Path, progress: Progress) -> list[tuple[str, str]]:
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
