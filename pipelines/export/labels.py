"""Exports labels for other programs, and predictions of the unlabelled images: as a table, a file or a directory.

    csv           filepath, label, split, sample_id, by, at: what `gradebook import --labels` reads again
    parquet       the same columns
    coco          one JSON file for readers of COCO: one annotation an image, whose box is the image
    label-studio  one JSON file of tasks: labels as annotations, predictions as pre-annotations
    cvat          one XML file of the kind "CVAT for images 1.1": each image has its label as a tag
    folder        OUT/SPLIT/CLASS/FILE, copies of the images, as torchvision, YOLO and Hugging Face read them
    fiftyone      OUT/labels.json, FiftyOne's FiftyOneImageClassificationDataset, which names the images where they are
    huggingface   OUT/data/SPLIT-*.parquet with the images inside, as `datasets.load_dataset` reads it

Images are never moved or changed. Nothing that exists is overwritten, except the directory of an earlier export in the
same format (`gradebook.pipelines.export.directory`). Labels of images whose file has changed since it was imported are
left out.

A spreadsheet would run a cell that begins with =, for example. In CSV such cells get an apostrophe in front, which an
import takes away again (`gradebook.storage.csv_cells`).
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from gradebook.pipelines.export.directory import check_target, written_directory
from gradebook.pipelines.export.label_files import as_coco, as_csv, as_cvat, as_label_studio, as_parquet
from gradebook.pipelines.export.label_folders import Progress, write_fiftyone, write_folder, write_hugging_face
from gradebook.pipelines.export.label_rows import Rows, labelled_rows, predicted_rows, rejected_rows
from gradebook.storage.characters import escaped
from gradebook.storage.files import create_exclusive
from gradebook.storage.project import ProjectError
from gradebook.storage.sample_files import CHANGED

if TYPE_CHECKING:
    from gradebook.pipelines.runs import Run
    from gradebook.storage.store import Store

Form = Literal["csv", "parquet", "coco", "label-studio", "cvat", "folder", "fiftyone", "huggingface"]
What = Literal["labels", "predictions", "rejected"]
FORMS_OF: dict[str, tuple[str, ...]] = {  # what can be exported in which formats
    "labels": get_args(Form),
    "predictions": ("csv", "parquet", "label-studio", "fiftyone"),
    "rejected": get_args(Form),  # with the label rejected
}
DIRECTORIES = ("folder", "fiftyone", "huggingface")  # formats of several files
FILES: dict[str, Callable[[Rows], bytes]] = {
    "csv": as_csv,
    "parquet": as_parquet,
    "coco": as_coco,
    "label-studio": as_label_studio,
    "cvat": as_cvat,
}
MAX_LISTED = 10  # files that are left out, in the summary


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelsExport:
    """The result of `gradebook export-labels`."""

    out: str
    format: str
    what: str  # labels, predictions or rejected
    labels: int  # images that were written
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


def check_what(name: str) -> What:
    """Returns what can be exported by that name.

    Raises:
        ProjectError: there is no such thing.
    """
    if name not in get_args(What):
        raise ProjectError(f"{name!r} cannot be exported: choose one of {', '.join(get_args(What))}")
    return cast(What, name)


def export_labels(  # noqa: PLR0913  # the last four have a default
    store: "Store",
    out: Path,
    form: Form,
    *,
    what: What = "labels",
    run: "Run | None" = None,
    relative: bool = False,
    progress: Progress | None = None,
) -> LabelsExport:
    """Writes labels or predictions to `out`, whole or not at all.

    Args:
        store: the project.
        out: a new file; for folder, fiftyone and huggingface a directory that is new, empty, or what an earlier export
            in this format wrote.
        form: one of `Form`.
        what: the current labels, a run's predictions for the undecided images, or the images that fit no class.
        run: whose predictions.
        relative: whether paths are relative to the directory of `out`.
        progress: called with the number of images copied and the total.

    Raises:
        ProjectError: there is nothing to export, `out` exists, the format cannot hold it, or a class cannot be a
            directory's name.
    """
    out = out.expanduser().absolute()
    if form not in FORMS_OF[what]:
        raise ProjectError(f"{what} cannot be written as {form}: choose one of {', '.join(FORMS_OF[what])}")
    if relative and form in DIRECTORIES:
        raise ProjectError(f"{form} has no paths that could be relative: leave --relative out")
    rows = _rows(store, what, run)
    missing, replaced = [(path, CHANGED) for path in rows.changed], False
    if form in DIRECTORIES:
        replaced = check_target(out.resolve(), form)
        with written_directory(out, form) as directory:
            missing += _write_directory(rows, form, directory, progress or (lambda done, total: None))
    else:
        _write_file(rows.relative_to(out.parent) if relative else rows, form, out)
    return LabelsExport(
        out=str(out),
        format=form,
        what=what,
        labels=len(rows.labels) + len(rows.changed) - len(missing),
        missing=len(missing),
        missing_files=tuple(missing),
        replaced=replaced,
    )


def summarize(result: dict[str, Any]) -> str:
    """Returns what was exported, and which files were left out."""
    before = ", in place of an earlier export" if result["replaced"] else ""
    names = {"labels": "labels", "predictions": "predictions", "rejected": "rejected images"}
    lines = [f"{result['labels']} {names[result['what']]} are in {result['out']}{before}"]
    if result["missing"]:
        lines[0] += f"; {result['missing']} files have changed or cannot be copied, and were left out:"
        lines += [f"  {escaped(path)}: {why}" for path, why in result["missing_files"][:MAX_LISTED]]
    return "\n".join(lines)


def _rows(store: "Store", what: What, run: "Run | None") -> Rows:
    """Returns what to export.

    Raises:
        ProjectError: there is nothing.
    """
    root = store.project.root
    if what == "predictions":
        if run is None:
            raise ProjectError(f"{root} has no run to predict with: start one with: gradebook train {root}")
        rows = predicted_rows(store, run)
        empty = f"{run.name} has no predictions of images that nobody has labelled since: nothing is left to export"
    elif what == "rejected":
        rows, empty = rejected_rows(store), f"nobody has rejected an image of {root}: nothing is there to export"
    else:
        rows, empty = labelled_rows(store), f"{root} has no labels yet: label some images, then export again"
    if not rows.labels and not rows.changed:
        raise ProjectError(empty)
    return rows


def _write_file(rows: Rows, form: str, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    if not create_exclusive(out, FILES[form](rows)):
        raise ProjectError(f"{out} exists already and is not overwritten: choose a new name")


def _write_directory(rows: Rows, form: str, directory: Path, progress: Progress) -> list[tuple[str, str]]:
    if form == "folder":
        return write_folder(rows.labels, directory, progress)
    if form == "huggingface":
        return write_hugging_face(rows.labels, rows.classes, directory, progress)
    write_fiftyone(rows.labels, rows.classes, directory)
    return []
