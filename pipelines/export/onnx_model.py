"""Writes the student as ONNX with its preprocessing, and what a program must know of it as the model's metadata."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from gradebook.pipelines.training.student import FullModel, with_preprocessing

if TYPE_CHECKING:
    from collections.abc import Sequence

OPSET = 20
PREPROCESSING = (
    "uint8 RGB images (N, 3, S, S): turned by their EXIF orientation, transparency on white, levels of more than 8 "
    "bits scaled to 8, stretched to S x S pixels (bicubic), not cropped; the model normalises them itself"
)


def write_onnx(full: FullModel, path: Path, classes: "Sequence[str]", run: str) -> None:
    """Writes the network with its preprocessing: uint8 images in, probabilities out, any number at a time.

    Its metadata, which every runtime shows, are classes (JSON), size, preprocessing, run and gradebook_version.
    """
    import onnx
    import torch

    from gradebook import __version__

    example = torch.zeros(2, 3, full.size, full.size, dtype=torch.uint8)
    program = torch.onnx.export(
        with_preprocessing(full),
        (example,),
        input_names=["images"],
        output_names=["probabilities"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    program.save(path, external_data=False)
    model = onnx.load(path)
    about = {"classes": json.dumps(list(classes), ensure_ascii=False), "size": str(full.size), "run": run}
    about |= {"preprocessing": PREPROCESSING, "gradebook_version": __version__}
    onnx.helper.set_model_props(model, about)
    onnx.save(model, path)


def write_torch_program(full: FullModel, path: Path) -> None:
    """Writes the same network as a program that `torch.export.load` opens."""
    import torch

    example = torch.zeros(2, 3, full.size, full.size, dtype=torch.uint8)
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(with_preprocessing(full), (example,), dynamic_shapes=({0: batch},))
    torch.export.save(program, path)
