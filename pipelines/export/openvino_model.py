"""A copy of an exported model for OpenVINO, Intel's runtime, and how far its probabilities are from onnxruntime's."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from gradebook.pipelines.export.check_images import write_check_images
from gradebook.pipelines.training.config import ConfigError
from gradebook.storage.images import load
from gradebook.storage.install_advice import install_command
from gradebook.storage.project import ProjectError

if TYPE_CHECKING:
    from gradebook.pipelines.inference.classifier import Classifier

OPENVINO = "model.xml"  # with model.bin next to it
MAX_DIFFERENCE = 1e-4  # of a probability


def check_installed() -> None:
    """Checks that OpenVINO can be imported.

    Raises:
        ProjectError: it cannot.
    """
    try:
        import openvino  # noqa: F401
    except ImportError as error:
        raise ProjectError(
            f"--openvino needs the package openvino: install it with: {install_command('openvino')}"
        ) from error


def write_openvino(classifier: "Classifier", directory: Path) -> float:
    """Writes the model of a classifier for OpenVINO in float32, and compares the two on images of every kind.

    Returns:
        The largest difference of a probability.

    Raises:
        ProjectError: OpenVINO is not installed.
        ConfigError: the two differ by more than rounding.
    """
    check_installed()
    import openvino

    openvino.save_model(openvino.convert_model(classifier.model), directory / OPENVINO, compress_to_fp16=False)
    exact = {"INFERENCE_PRECISION_HINT": "f32"}  # by default some processors compute in bfloat16
    compiled = openvino.Core().compile_model(directory / OPENVINO, "CPU", exact)
    with TemporaryDirectory() as temporary:
        pixels = np.stack([load(file, classifier.size) for file in write_check_images(Path(temporary))])
    expected = classifier.probabilities(pixels)
    difference = float(np.abs(compiled(pixels)[0] - expected).max())
    if difference > MAX_DIFFERENCE:
        raise ConfigError(
            f"OpenVINO differs from onnxruntime by {difference:.5f} in a probability: leave --openvino out, and report "
            "the backbone and the version of OpenVINO"
        )
    return difference
