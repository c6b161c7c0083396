"""An exported classifier, opened from its directory. Needs only onnxruntime, Pillow and NumPy."""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from gradebook.storage.images import BrokenImage, Ranges, decode, load, square, square_of_pixels
from gradebook.storage.project import ProjectError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

MODEL = "model.onnx"
CLASSES = "classes.json"
BATCH = 32  # images that are predicted at once

AnyImage = Union[str, "os.PathLike[str]", "Image.Image", "NDArray[np.uint8]"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The prediction for one image."""

    filepath: str  # empty for an image that is not a file
    label: str
    probability: float
    probabilities: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        """Returns it as plain data."""
        return asdict(self)


class Classifier:
    """An exported classifier."""

    def __init__(self, directory: Path, model: str = MODEL):
        """Opens it.

        Args:
            directory: of the export.
            model: the file of the model, such as model-int8.onnx.

        Raises:
            ProjectError: the directory holds no exported classifier.
        """
        self.directory, self.model = directory, directory / model
        self._files = (directory / model, directory / CLASSES)
        try:
            metadata = json.loads((directory / CLASSES).read_text(encoding="utf-8"))
            self.classes: list[str] = metadata["classes"]
            self.size: int = metadata["size"]  # pixels a side
            # Of levels of more than 8 bits, as in the project that it was exported from.
            self.ranges: Ranges = {kind: (low, high) for kind, (low, high) in (metadata.get("levels") or {}).items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ProjectError(
                f"{directory} holds no exported classifier ({CLASSES}: {error}): make one with: "
                f"gradebook export PROJECT {directory}"
            ) from error
        import onnxruntime

        try:
            self._session = onnxruntime.InferenceSession(directory / model, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own classes, one a cause
            raise ProjectError(f"{directory / model} cannot be opened ({error}): export it again") from error

    def __repr__(self) -> str:
        return f"<Classifier {self.directory}: {', '.join(self.classes)}>"

    def predict(self, images: AnyImage | Iterable[AnyImage]) -> list[Prediction]:
        """Returns the prediction for each image.

        Args:
            images: files, Pillow images, or arrays uint8 (H, W, 3), (H, W, 4) with transparency, or (H, W) in grey; one
                or several. They are decoded, turned and scaled as for training. A JPEG is best given as a file: it may
                be decoded at a smaller size, as the trainer did, which gives the same probabilities to the last digit.

        Raises:
            BrokenImage: a file cannot be decoded.
            ProjectError: something is no image.
        """
        batch = [images] if _is_image(images) else list(images)  # type: ignore[arg-type]
        predictions = []
        for start in range(0, len(batch), BATCH):
            part = batch[start : start + BATCH]
            rows = self.probabilities(_stacked(part, start, self))
            predictions += [as_prediction(self.classes, row, _name(i)) for i, row in zip(part, rows, strict=True)]
        return predictions

    def probabilities(self, images: "NDArray[np.uint8]") -> "NDArray[np.float32]":
        """Returns (N, K) for images (N, 3, S, S), uint8, of the size that the classifier was exported for."""
        (out,) = self._session.run(None, {"images": images})
        return out  # type: ignore[no-any-return]

    def digest(self) -> str:
        """Returns a hash of the model and its classes."""
        return digest_of(self._files)


def load_classifier(directory: "str | os.PathLike[str]", model: str = MODEL) -> Classifier:
    """Opens an exported classifier; needs neither the project nor torch.

    Args:
        directory: of the export.
        model: the file of the model; "model-int8.onnx" is the smaller one, where it was exported.

    Raises:
        ProjectError: the directory holds none.
    """
    return Classifier(Path(directory).expanduser(), model)


def as_prediction(classes: Sequence[str], row: "NDArray[np.float32]", filepath: str = "") -> Prediction:
    """Returns the prediction that the probabilities (K,) of an image amount to."""
    best = int(row.argmax())
    return Prediction(
        filepath=filepath,
        label=classes[best],
        probability=float(row[best]),
        probabilities={name: float(p) for name, p in zip(classes, row, strict=True)},
    )


def digest_of(files: Sequence[Path]) -> str:
    """Returns a hash of the content of files, 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def predict_content(classifier: Classifier, content: bytes) -> dict[str, float]:
    """Returns the probability of each class for the content of an image file.

    Raises:
        BrokenImage: it cannot be decoded.
    """
    import numpy as np

    image = square(decode(content, classifier.size, classifier.ranges)[0], classifier.size)
    (row,) = classifier.probabilities(np.asarray(image).transpose(2, 0, 1)[None])
    return as_prediction(classifier.classes, row).probabilities


def _is_image(value: Any) -> bool:
    """Returns whether a value is one image, and not several."""
    if isinstance(value, (str, os.PathLike)) or hasattr(value, "getexif"):
        return True
    return getattr(value, "ndim", 0) in (2, 3)


def _name(image: Any) -> str:
    return os.fspath(image) if isinstance(image, (str, os.PathLike)) else ""


def _stacked(images: Sequence[Any], first: int, classifier: Classifier) -> "NDArray[np.uint8]":
    """Returns images as (N, 3, S, S) for a classifier; `first` is the position of the first one, for messages."""
    import numpy as np

    return np.stack([_pixels(image, f"images[{first + n}]", classifier) for n, image in enumerate(images)])


def _pixels(image: Any, where: str, classifier: Classifier) -> "NDArray[np.uint8]":
    import numpy as np
    from PIL import Image

    if isinstance(image, (str, os.PathLike)):
        return load(Path(image).expanduser(), classifier.size, classifier.ranges)
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (3, 4))):
            raise ProjectError(f"{where} is an array {image.dtype} {image.shape}: give uint8 of shape (H, W, 3)")
        if image.size == 0:
            raise ProjectError(f"{where} is an array without pixels, {image.shape}: leave it out")
        image = Image.fromarray(np.ascontiguousarray(image))
    if not isinstance(image, Image.Image):
        raise ProjectError(f"{where} is a {type(image).__name__}: give a file's path, a Pillow image or an array")
    try:
        pixels = square_of_pixels(image, classifier.size, classifier.ranges)
        return np.ascontiguousarray(np.asarray(pixels).transpose(2, 0, 1))
    except BrokenImage as error:
        raise BrokenImage(f"{where} cannot be used: {error}") from error
