"""Predictions in a CSV file, a row for each image. Rows are appended as they are made, so an interrupted call resumes.

A row also has the model's hash, and the size and time of the image file. It is valid only for that model and file.
"""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from gradebook.pipelines.importing.file_discovery import printable
from gradebook.pipelines.inference.classifier import Classifier, Prediction
from gradebook.pipelines.inference.predict import predict
from gradebook.pipelines.process.progress import say
from gradebook.storage.csv_cells import escape_cell, unescape_cell
from gradebook.storage.files import write_atomic
from gradebook.storage.project import ProjectError

LINE_END = b"\r\n"
FLUSH_INTERVAL = 256  # predictions between two writes: what a kill loses at most
KEY = ("model", "size", "mtime_ns")  # the last columns: hash of the model; bytes and time of the image file
FileState = tuple[str, str]  # size and mtime_ns of a file, as the table has them


def into_file(
    path: Path,
    directory: Path,
    images: Sequence[Path],
    *,
    broken: Callable[[str], None],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, int]:
    """Predicts the images that have no valid row in the file yet, and appends their rows.

    Args:
        path: the file; it is made if it does not exist.
        directory: of the exported classifier.
        images: files and folders.
        broken: see `predict`.
        progress: see `predict`.

    Returns:
        How many were `predicted`, and how many the file held `before`.

    Raises:
        ProjectError: see `predict`; or the file holds something else, or the predictions of another model.
    """
    classifier = Classifier(directory)
    model, classes = classifier.digest(), classifier.classes
    before = _valid_rows(path, classes, model)
    states: dict[str, FileState] = {}  # of the files to predict, from before they are read

    def is_done(file: Path) -> bool:
        name = printable(str(file))
        if name in before or name in states:
            return True
        states[name] = _state(file)
        return False

    predictions = predict(classifier, images, is_done=is_done, broken=broken, progress=progress)
    rows = ([*_cells(prediction, classes), model, *states[prediction.filepath]] for prediction in predictions)
    return {"predicted": _append(path, _header(classes), rows), "before": len(before)}


def read_rows(path: Path, classes: Sequence[str]) -> list[list[str]]:
    """Returns the complete rows of the file, without the header; a row that a kill cut short is cut off the file.

    Args:
        path: the file, which may not exist.
        classes: of the classifier, in order.

    Raises:
        ProjectError: the file holds something else.
    """
    if not path.exists():
        return []
    content = path.read_bytes()
    complete = content[: content.rfind(LINE_END) + len(LINE_END)] if LINE_END in content else b""
    try:
        rows = list(csv.reader(io.StringIO(complete.decode("utf-8"), newline="")))
    except (UnicodeDecodeError, csv.Error):
        rows = [["?"]]
    header = _header(classes)
    is_cut_header = _as_csv([header]).startswith(content)  # or nothing
    if (rows[:1] != [header] and not is_cut_header) or any(len(row) != len(header) for row in rows):
        raise ProjectError(f"{path} holds other data than this classifier's predictions: choose another --out")
    if len(complete) < len(content):
        with path.open("r+b") as file:
            file.truncate(len(complete))
    return [list(map(unescape_cell, row)) for row in rows[1:]]


def _append(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> int:
    """Appends rows as they come, below the header in a new file; returns their number."""
    count = 0
    with path.open("a", encoding="utf-8", newline="") as file:
        lines = csv.writer(file)
        if file.tell() == 0:
            lines.writerow(header)
        for count, row in enumerate(rows, 1):
            lines.writerow(map(escape_cell, row))
            if count % FLUSH_INTERVAL == 0:
                file.flush()
    return count


def _valid_rows(path: Path, classes: Sequence[str], model: str) -> set[str]:
    """Returns the files that have a valid row; rows of files that have changed since are taken out of the file."""
    rows = read_rows(path, classes)
    if any(row[-len(KEY)] != model for row in rows):
        raise ProjectError(f"{path} holds predictions of another model: choose another --out, or delete it")
    valid = [row for row in rows if _state(Path(row[0])) in ((row[-2], row[-1]), ("", ""))]
    if len(valid) < len(rows):
        say(f"{len(rows) - len(valid)} images have changed since they were predicted, so they are predicted again")
        write_atomic(path, _as_csv([_header(classes), *valid]))
    return {row[0] for row in valid}


def _state(file: Path) -> FileState:
    """Returns size and time of a file, empty if it does not exist."""
    try:
        status = file.stat()
    except OSError:
        return "", ""
    return str(status.st_size), str(status.st_mtime_ns)


def _cells(prediction: Prediction, classes: Sequence[str]) -> list[str]:
    probabilities = (f"{prediction.probabilities[name]:.6g}" for name in classes)
    return [prediction.filepath, prediction.label, f"{prediction.probability:.6g}", *probabilities]


def _header(classes: Sequence[str]) -> list[str]:
    return ["filepath", "label", "probability", *(f"probability of {name}" for name in classes), *KEY]


def _as_csv(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(map(escape_cell, row) for row in rows)
    return text.getvalue().encode("utf-8")
