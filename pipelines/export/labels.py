"""The labels as they stand, for other programs: as a table, as JSON, or as folders of copies.

    csv      filepath, label, split, sample_id, by, at: what `gradebook import --labels` reads again
    parquet  the same columns
    coco     one JSON file as COCO's readers want it: each image has one annotation, whose box is the whole image
    folder   OUT/SPLIT/CLASS/FILE, copies of the images
    fiftyone OUT/labels.json, FiftyOne's FiftyOneImageClassificationDataset, which names the images where they are

The images themselves are never moved or changed, and nothing that exists is written over.
"""

import csv
import io
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gradebook.storage.project import ProjectError

if TYPE_CHECKING:
    from gradebook.storage.store import Store

Form = Literal["csv", "parquet", "coco", "folder", "fiftyone"]
Progress = Callable[[int, int], None]  # images done, images in all
LONGEST = 255  # bytes of a file's name


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """One labelled sample, and who says so."""

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
    """What `gradebook export-labels` answers."""

    out: str
    format: str
    labels: int
    missing: int  # images that were left out because their file cannot be copied
    missing_files: tuple[tuple[str, str], ...]  # the file, and why

    def as_json(self) -> dict[str, Any]:
        """Returns it as plain data."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def labels_of(store: "Store") -> list[Label]:
    """Returns the labels as they stand, in order of import."""
    from gradebook.storage.events import decisions

    decided = decisions(store.log.read())
    chosen = [(s, decided[s.sample_id]) for s in store.catalog.samples() if s.sample_id in decided]
    return [
        Label(
            filepath=s.filepath,
            label=e.label,
            split=s.split.value,
            sample_id=s.sample_id,
            by=e.actor,
            at=e.at.isoformat(),
            width=s.width,
            height=s.height,
        )
        for s, e in chosen
        if e.label is not None
    ]


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
    """Returns a COCO file: categories count from 1 in the project's order, an image's split stands with the image."""
    number = {name: n for n, name in enumerate(classes, start=1)}
    images, annotations = [], []
    for n, label in enumerate(labels, start=1):
        size = {"width": label.width, "height": label.height}
        images.append({"id": n, "file_name": label.filepath, **size, "split": label.split})
        box = {"bbox": [0, 0, label.width, label.height], "area": label.width * label.height, "iscrowd": 0}
        annotations.append({"id": n, "image_id": n, "category_id": number[label.label], **box})
    categories = [{"id": n, "name": name} for name, n in number.items()]
    whole = {"images": images, "annotations": annotations, "categories": categories}
    return (json.dumps(whole, ensure_ascii=False) + "\n").encode("utf-8")


def export_labels(store: "Store", out: Path, form: Form, *, progress: Progress | None = None) -> LabelsExport:
    """Writes the labels as they stand to `out`, whole or not at all.

    Args:
        store: the project.
        out: a new file for csv, parquet and coco; a new directory for folder and fiftyone.
        form: one of `Form`.
        progress: is called with the images copied and those to copy.

    Raises:
        ProjectError: there are no labels, `out` exists, or a class cannot be a directory's name.
    """
    out = out.expanduser().absolute()
    labels, classes = labels_of(store), store.project.classes
    if not labels:
        raise ProjectError(f"{store.project.root} has no labels yet: label some images, then export again")
    if out.exists() and (out.is_file() or form not in ("folder", "fiftyone") or any(out.iterdir())):
        raise ProjectError(f"{out} exists already, and nothing is written over: choose a new name")
    draft = _draft(out)
    missing: list[tuple[str, str]] = []
    try:
        if form == "folder":
            missing = _write_folder(labels, draft, progress or (lambda done, total: None))
        elif form == "fiftyone":
            _write_fiftyone(labels, classes, draft)
        else:
            draft.write_bytes(_file(labels, classes, form))
        draft.replace(out)
    finally:
        _remove(draft)
    written = len(labels) - len(missing)
    return LabelsExport(out=str(out), format=form, labels=written, missing=len(missing), missing_files=tuple(missing))


def words(done: dict[str, Any]) -> str:
    """Returns what was exported, as a sentence."""
    more = f"; {done['missing']} files cannot be copied and were left out" if done["missing"] else ""
    return f"{done['labels']} labels are in {done['out']}{more}"


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
        place = folder / source.name
        if place.exists():  # another image of that name, from another directory
            place = folder / f"{label.sample_id}{source.suffix}"
        try:
            shutil.copyfile(source, place)
        except OSError as error:
            if not source.is_file():
                missing.append((label.filepath, error.strerror or str(error)))
            else:
                raise
        progress(n, len(labels))
    return missing


def _check_name(name: str) -> None:
    if name.startswith(".") or "/" in name or "\\" in name or "\0" in name or len(name.encode()) > LONGEST:
        raise ProjectError(f"the class {name!r} cannot be the name of a directory: export csv, parquet or coco instead")


def _write_fiftyone(labels: Sequence[Label], classes: Sequence[str], directory: Path) -> None:
    """Writes a FiftyOneImageClassificationDataset whose images are named by their absolute paths.

    https://docs.voxel51.com/user_guide/import_datasets.html#fiftyoneimageclassificationdataset; its `data.json`, for
    images elsewhere, is not found by FiftyOne 1.x unless it is named, and without a directory `data` it gives up.
    """
    said = {
        label.filepath: {"label": label.label, "attributes": {"split": label.split, "by": label.by, "at": label.at}}
        for label in labels
    }
    (directory / "data").mkdir(parents=True)
    whole = {"classes": list(classes), "labels": said}
    (directory / "labels.json").write_text(json.dumps(whole, ensure_ascii=False) + "\n", encoding="utf-8")


def _draft(out: Path) -> Path:
    """Returns an unused place beside the wanted one, to be moved there when all is written."""
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.parent / f".{out.name}.draft"
    _remove(draft)
    return draft


def _remove(draft: Path) -> None:
    if draft.is_dir():
        shutil.rmtree(draft, ignore_errors=True)
    else:
        draft.unlink(missing_ok=True)
