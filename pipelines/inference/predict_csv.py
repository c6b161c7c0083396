"""A file of predictions that grows while they are made, and is gone on with after a stop: CSV, a line an image."""

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path

from gradebook.pipelines.inference.predict import Classifier, predict
from gradebook.storage.project import ProjectError

END = b"\r\n"  # of a line


FLUSH = 256  # predictions between two writes: what a kill loses at most


def into_file(
    path: Path,
    directory: Path,
    images: Sequence[Path],
    *,
    broken: Callable[[str], None],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, int]:
    """Predicts the images that the file has no line of yet, and adds them to it.

    Args:
        path: the file; it is made where there is none.
        directory: of the exported classifier.
        images: files and folders.
        broken: see `predict`.
        progress: see `predict`.

    Returns:
        How many were `predicted`, and how many the file held `before`.

    Raises:
        ProjectError: see `predict`; or the file holds something else.
    """
    classifier = Classifier(directory)
    classes = classifier.classes
    before = done_in(path, classes)
    said = predict(classifier, images, done=before, broken=broken, progress=progress)
    count = 0
    with path.open("a", encoding="utf-8", newline="") as file:
        lines = csv.writer(file)
        if file.tell() == 0:
            lines.writerow(_head(classes))
        for count, one in enumerate(said, 1):
            odds = (f"{one.probabilities[name]:.6g}" for name in classes)
            lines.writerow([one.filepath, one.label, f"{one.probability:.6g}", *odds])
            if count % FLUSH == 0:
                file.flush()
    return {"predicted": count, "before": len(before)}


def done_in(path: Path, classes: Sequence[str]) -> list[str]:
    """Returns the paths of the images that the file has a whole line of; a line that a kill tore is cut off.

    Args:
        path: the file; there need not be one.
        classes: of the classifier, in order.

    Raises:
        ProjectError: the file holds something else.
    """
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(END) + len(END)] if END in content else b""
    try:
        rows = list(csv.reader(io.StringIO(whole.decode("utf-8"), newline="")))
    except (UnicodeDecodeError, csv.Error):
        rows = [["?"]]
    head = _head(classes)
    first = io.StringIO(newline="")
    csv.writer(first).writerow(head)
    begun = first.getvalue().encode().startswith(content)  # nothing, or a torn first line
    if (rows[:1] != [head] and not begun) or any(len(row) != len(head) for row in rows):
        raise ProjectError(f"{path} holds other things than this classifier's predictions: choose another --out")
    if len(whole) < len(content):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    return [row[0] for row in rows[1:]]


def _head(classes: Sequence[str]) -> list[str]:
    return ["filepath", "label", "probability", *(f"probability of {name}" for name in classes)]
