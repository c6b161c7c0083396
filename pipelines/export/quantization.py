"""An int8 copy of an exported model, by onnxruntime, and what its rounding costs in accuracy."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradebook.pipelines.inference.classifier import MODEL

if TYPE_CHECKING:
    from gradebook.pipelines.inference.classifier import Classifier

INT8 = "model-int8.onnx"
CALIBRATION = 128  # images from which the ranges of the activations are taken
BATCH = 16
QUANTIZED = ["Conv", "Gemm", "MatMul"]  # the others take little time, and rounding hurts a softmax

Images = NDArray[np.uint8]  # (N, 3, S, S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8Report:
    """The int8 model compared with the other one."""

    calibrated: int  # images that the ranges were taken from
    compared: int  # images on which the two were compared
    same_class: float  # share of these with the same predicted class
    accuracy: float | None  # of the int8 model on those of them with a label; None without labels
    accuracy_before: float | None  # of the other one
    bytes: int  # size of the int8 model
    bytes_before: int

    def sentence(self) -> str:
        """Returns the report as a sentence."""
        size = f"{INT8}: {self.bytes / 2**20:.1f} MB instead of {self.bytes_before / 2**20:.1f} MB"
        same = f"{size}, the same class for {self.same_class:.1%} of {self.compared} images"
        if self.accuracy is None or self.accuracy_before is None:
            return f"{same}; there are no labelled test images to measure the lost accuracy on"
        return f"{same}, accuracy {self.accuracy:.1%} instead of {self.accuracy_before:.1%}"


def write_int8(directory: Path, images: Images) -> None:
    """Writes the int8 copy of the model in a directory, calibrated on images; its metadata are the same."""
    import onnx
    from onnxruntime import quantization

    with TemporaryDirectory() as temporary:
        prepared = Path(temporary) / MODEL
        quantization.quant_pre_process(str(directory / MODEL), str(prepared), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(prepared),
            str(directory / INT8),
            _Reader(images),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=QUANTIZED,
            per_channel=True,
        )
    model, before = onnx.load(directory / INT8), onnx.load(directory / MODEL)
    onnx.helper.set_model_props(model, {prop.key: prop.value for prop in before.metadata_props} | {"precision": "int8"})
    onnx.save(model, directory / INT8)


def compare_int8(
    classifier: "Classifier", small: "Classifier", images: Images, labels: NDArray[np.int64], calibrated: int
) -> Int8Report:
    """Returns how the int8 model differs on images (N, 3, S, S) with labels (N,), -1 where there is none."""
    before, after = (_classes(one, images) for one in (classifier, small))
    known = labels >= 0
    sizes = [path.stat().st_size for path in (small.directory / INT8, classifier.directory / MODEL)]
    return Int8Report(
        calibrated=calibrated,
        compared=len(images),
        same_class=float((before == after).mean()),
        accuracy=float((after == labels)[known].mean()) if known.any() else None,
        accuracy_before=float((before == labels)[known].mean()) if known.any() else None,
        bytes=sizes[0],
        bytes_before=sizes[1],
    )


def _classes(classifier: "Classifier", images: Images) -> NDArray[np.int64]:
    parts = [classifier.probabilities(images[start : start + BATCH]) for start in range(0, len(images), BATCH)]
    classes: NDArray[np.int64] = np.concatenate(parts).argmax(1)
    return classes


class _Reader:
    """Supplies the images to onnxruntime's calibration, a batch at a time."""

    def __init__(self, images: Images):
        self._batches: Iterator[Images] = (images[start : start + BATCH] for start in range(0, len(images), BATCH))

    def get_next(self) -> dict[str, Any] | None:
        """Returns the next batch, None at the end."""
        batch = next(self._batches, None)
        return None if batch is None else {"images": batch}
