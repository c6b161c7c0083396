"""Predicts with an exported classifier: needs onnxruntime, Pillow and NumPy, and nothing that trained it."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.images import BrokenImage, decode, is_image, open_square, square
from storage.project import ProjectError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MODEL = "model.onnx"
CLASSES = "classes.json"


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
    directory: Path, images: Sequence[Path], *, batch: int = 32, broken: Callable[[str], None]
) -> Iterator[Prediction]:
    """Yields a prediction for each image file, folders searched through, in order.

    Args:
        directory: of the exported classifier.
        images: files and folders.
        batch: images at a time.
        broken: is told, in a sentence, of each file that cannot be read; it is left out.

    Raises:
        ProjectError: the directory holds no classifier, or a path does not exist.
    """
    classifier = Classifier(directory)
    files = [file for path in images for file in _files(path)]
    for start in range(0, len(files), batch):
        yield from _batch(classifier, files[start : start + batch], broken)


def predict_content(classifier: Classifier, content: bytes) -> dict[str, float]:
    """Returns the probability of each class for the bytes of an image file.

    Raises:
        BrokenImage: it is none that can be read.
    """
    import numpy as np

    image = square(decode(content, classifier.size)[0], classifier.size)
    (row,) = classifier.probabilities(np.asarray(image).transpose(2, 0, 1)[None])
    return {name: float(p) for name, p in zip(classifier.classes, row, strict=True)}


def _batch(classifier: Classifier, files: Sequence[Path], broken: Callable[[str], None]) -> Iterator[Prediction]:
    import numpy as np

    opened = []
    for file in files:
        try:
            opened.append((file, np.asarray(open_square(file, classifier.size)).transpose(2, 0, 1)))
        except BrokenImage as error:
            broken(str(error))
    if not opened:
        return
    said = classifier.probabilities(np.stack([image for _, image in opened]))
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
