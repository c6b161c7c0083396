"""A classifier that needs no training: three classes, by which colour an image has most of; and folders for it."""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

CLASSES = ("red", "green", "blue")
SIDE = 16  # pixels


def make_classifier(directory: Path) -> Path:
    """Writes p = softmax(mean colour / 20) as an exported classifier."""
    directory.mkdir()
    nodes = [
        helper.make_node("Cast", ["images"], ["levels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["levels", "axes"], ["colour"], keepdims=0),
        helper.make_node("Div", ["colour", "scale"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1),
    ]
    fed = helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 3, SIDE, SIDE])
    out = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 3])
    constants = {"axes": np.array([2, 3], np.int64), "scale": np.array(20, np.float32)}
    given = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "colours", [fed], [out], given)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, directory / "model.onnx")
    (directory / "classes.json").write_text(json.dumps({"classes": CLASSES, "size": SIDE}))
    return directory


def picture(seed: int, colour: int, side: int = 2 * SIDE) -> Image.Image:
    """Returns a smooth random picture that has most of one colour."""
    coarse = np.random.default_rng(seed).integers(0, 150, (5, 5, 3))
    coarse[..., colour] += 10 + seed % 70
    return Image.fromarray(coarse.astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)


def make_pictures(folder: Path, number: int) -> list[Path]:
    """Writes pictures of all three colours, at several depths, each of its own content."""
    found = []
    for seed in range(number):
        path = folder / ("a", "b/c", ".")[seed % 3] / f"{seed:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(seed, seed * 7 % 3).save(path)
        found.append(path)
    return found


def break_some(folder: Path) -> None:
    """Cuts four of the pictures short."""
    for number in (3, 20, 41, 58):
        path = next(folder.rglob(f"{number:03}.png"))
        path.write_bytes(path.read_bytes()[:40])
