"""Predicts with an exported classifier: needs onnxruntime, Pillow and NumPy, and nothing that trained it."""

import json
import os
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from gradebook.storage.images import BrokenImage, decode, is_image, open_square, square
from gradebook.storage.project import ProjectError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MODEL = "model.onnx"
CLASSES = "classes.json"
AHEAD = 2  # batches that are read while the network looks at another

Read = tuple[Path, Union["NDArray[np.uint8]", str]]  # a file with its pixels (3, S, S), or why there are none


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What the classifier says of one file."""

    filepath: str
    label: str
    probability: float
    probabilities: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        """Returns it as plain data."""
        return asdict(self)


class Classifier:
    """An exported classifier, opened from its directory."""

    def __init__(self, directory: Path):
        """Opens it.

        Raises:
            ProjectError: the directory holds no exported classifier.
        """
        try:
            about = json.loads((directory / CLASSES).read_text(encoding="utf-8"))
            self.classes: list[str] = about["classes"]
            self.size: int = about["size"]  # pixels a side
        except (OSError, ValueError, KeyError) as error:
            raise ProjectError(
                f"{directory} holds no exported classifier ({CLASSES}: {error}): make one with: "
                f"gradebook export PROJECT {directory}"
            ) from error
        import onnxruntime

        try:
            self._session = onnxruntime.InferenceSession(directory / MODEL, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own classes, one a cause
            raise ProjectError(f"{directory / MODEL} cannot be opened ({error}): export it again") from error

    def probabilities(self, images: "NDArray[np.uint8]") -> "NDArray[np.float32]":
        """Returns (N, K) for images (N, 3, S, S), uint8, of the size that the classifier was exported for."""
        (out,) = self._session.run(None, {"images": images})
        return out  # type: ignore[no-any-return]


def predict(
    directory: "Path | Classifier",
    images: Sequence[Path],
    *,
    batch: int = 32,
    done: Collection[str] = (),
    broken: Callable[[str], None],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[Prediction]:
    """Yields a prediction for each image file, folders searched through, in order.

    Files are read by as many threads as there are cores, while the network looks at those before.

    Args:
        directory: of the exported classifier; or the classifier, where it is open already.
        images: files and folders.
        batch: images at a time.
        done: paths of files that are left out.
        broken: is told, in a sentence, of each file that cannot be read; it is left out.
        progress: called with the files done and the files to do.

    Raises:
        ProjectError: the directory holds no classifier, or a path does not exist.
    """
    classifier = Classifier(directory) if isinstance(directory, Path) else directory
    known = set(done)
    files = [file for path in images for file in _files(path) if str(file) not in known]
    behind = 0
    for part in _read_ahead(files, classifier.size, batch):
        yield from _said(classifier, part, broken)
        behind += len(part)
        progress(behind, len(files))


def predict_content(classifier: Classifier, content: bytes) -> dict[str, float]:
    """Returns the probability of each class for the bytes of an image file.

    Raises:
        BrokenImage: it is none that can be read.
    """
    import numpy as np

    image = square(decode(content, classifier.size)[0], classifier.size)
    (row,) = classifier.probabilities(np.asarray(image).transpose(2, 0, 1)[None])
    return {name: float(p) for name, p in zip(classifier.classes, row, strict=True)}


def _read_ahead(files: Sequence[Path], size: int, batch: int) -> "Iterator[list[Read]]":
    """Yields what is in the files, `batch` at a time; the next batches are read meanwhile."""
    pool = ThreadPoolExecutor(os.cpu_count())
    waiting: deque[list[Future[Read]]] = deque()
    try:
        for start in range(0, len(files), batch):
            waiting.append([pool.submit(_read, file, size) for file in files[start : start + batch]])
            if len(waiting) > AHEAD:
                yield [future.result() for future in waiting.popleft()]
        while waiting:
            yield [future.result() for future in waiting.popleft()]
    finally:
        pool.shutdown(cancel_futures=True)


def _read(file: Path, size: int) -> "Read":
    import numpy as np

    try:
        return file, np.asarray(open_square(file, size)).transpose(2, 0, 1)
    except BrokenImage as error:
        return file, str(error)


def _said(classifier: Classifier, part: "list[Read]", broken: Callable[[str], None]) -> Iterator[Prediction]:
    import numpy as np

    for _, pixels in part:
        if isinstance(pixels, str):
            broken(pixels)
    opened = [(file, pixels) for file, pixels in part if not isinstance(pixels, str)]
    if not opened:
        return
    said = classifier.probabilities(np.stack([pixels for _, pixels in opened]))
    for (file, _), row in zip(opened, said, strict=True):
        best = int(row.argmax())
        yield Prediction(
            filepath=str(file),
            label=classifier.classes[best],
            probability=float(row[best]),
            probabilities={name: float(p) for name, p in zip(classifier.classes, row, strict=True)},
        )


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if is_image(file) and file.is_file())
    if not path.exists():
        raise ProjectError(f"{path} does not exist: give image files or folders of images")
    return [path]
