"""Predicts the classes of images with the classifier in this directory. Needs onnxruntime, Pillow and NumPy alone.

    pip install -r requirements.txt
    python predict.py image.jpg folder > predictions.csv

A row has the image's path, the predicted class, its probability, and the probability of each class. From Python, with
this directory on the path: `from predict import predict`, then `predict(["image.jpg"])`. Images are decoded by
`preprocess.py`, as they were for training.
"""

import csv
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import preprocess  # type: ignore[import-not-found]  # the module next to this one

HERE = Path(__file__).resolve().parent
BATCH = 32  # images that are predicted at once
FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")  # beginnings of a cell that a spreadsheet would run
NOTHING_DONE = 2  # exit status


def classes() -> list[str]:
    """Returns the names of the classes, in the order of the probabilities."""
    return list(_about()["classes"])


def predict(images: Iterable[str | Path], model: str = "model.onnx") -> Iterator[tuple[str, Any]]:
    """Yields each image's path and the probability of each class, (K,).

    Args:
        images: files.
        model: the file of the model; model-int8.onnx is the smaller one, where it was exported.

    Raises:
        ValueError: a file cannot be decoded.
    """
    size, session = _about()["size"], _session(model)
    paths = [str(image) for image in images]
    for start in range(0, len(paths), BATCH):
        part = paths[start : start + BATCH]
        pixels = np.stack([preprocess.load(path, size) for path in part])
        yield from zip(part, session.run(None, {"images": pixels})[0], strict=True)


def image_files(names: Sequence[str]) -> list[Path]:
    """Returns files, and the images in folders in order of path."""
    files: list[Path] = []
    for path in map(Path, names):
        paths = sorted(p for p in path.rglob("*") if preprocess.is_image(p)) if path.is_dir() else [path]
        files += paths
    return files


def main(names: Sequence[str]) -> int:
    """Prints a table of predictions; returns the exit status."""
    if not names or names[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if names else NOTHING_DONE
    known = classes()
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(["filepath", "label", "probability", *map(_cell, known)])
    count = 0
    for path in image_files(names):
        try:
            ((name, row),) = predict([path])
        except ValueError as error:
            print(error, file=sys.stderr)
            continue
        table.writerow([_cell(name), _cell(known[row.argmax()]), *map(float, (row.max(), *row))])
        count += 1
    if not count:
        print("there are no images there: give files, or folders with images", file=sys.stderr)
    return 0 if count else NOTHING_DONE


@cache
def _session(model: str) -> Any:
    return onnxruntime.InferenceSession(HERE / model, providers=["CPUExecutionProvider"])


@cache
def _about() -> dict[str, Any]:
    about: dict[str, Any] = json.loads((HERE / "classes.json").read_text(encoding="utf-8"))
    return about


def _cell(text: str) -> str:
    """Returns a cell that no spreadsheet runs as a formula: such a text gets an apostrophe in front."""
    return f"'{text}" if text.lstrip("'").startswith(FORMULA) else text


if __name__ == "__main__":
    try:
        status = main(sys.argv[1:])
    except BrokenPipeError:  # the reader of our output, such as `head`, has stopped
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    sys.exit(status)
