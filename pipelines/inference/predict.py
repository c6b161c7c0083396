"""Predicts many image files with an exported classifier, by onnxruntime; the next ones are read meanwhile."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Union

from gradebook.pipelines.importing.file_discovery import printable, walk
from gradebook.pipelines.inference.classifier import Classifier, Prediction, as_prediction
from gradebook.storage.images import BrokenImage, load
from gradebook.storage.project import ProjectError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BATCHES_AHEAD = 2  # that are read while one is predicted

LoadedFile = tuple[Path, Union["NDArray[np.uint8]", str]]  # a file with its pixels (3, S, S), or why there are none


def predict(
    directory: "Path | Classifier",
    images: Sequence[Path],
    *,
    batch: int = 32,
    is_done: Callable[[Path], bool] = lambda file: False,
    broken: Callable[[str], None],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[Prediction]:
    """Yields a prediction for each image file, in order; folders are searched.

    As many threads as there are cores read the next files while the network predicts.

    Args:
        directory: of the exported classifier; or the classifier, if it is open.
        images: files and folders.
        batch: images at a time.
        is_done: whether a file is left out.
        broken: called with a sentence for each file that cannot be read; it is left out.
        progress: called with the number of files done and the total.

    Raises:
        ProjectError: the directory holds no classifier, or a path does not exist.
    """
    classifier = Classifier(directory) if isinstance(directory, Path) else directory
    files = [file for file in list_images(images, broken) if not is_done(file)]
    done = 0
    for part in _read_ahead(files, classifier, batch):
        yield from _predictions(classifier, part, broken)
        done += len(part)
        progress(done, len(files))


def list_images(paths: Sequence[Path], broken: Callable[[str], None]) -> Iterator[Path]:
    """Yields image files, those of folders in order of path.

    Args:
        paths: files, and folders to search.
        broken: called with a sentence for each file of a folder that cannot be used.

    Raises:
        ProjectError: a path does not exist.
    """
    for path in paths:
        if path.is_dir():
            entries = list(walk(str(path), is_sorted=True))
            for name, why in entries:
                if why:
                    broken(f"{printable(name)} cannot be used: {why}")
            yield from sorted(Path(name) for name, why in entries if not why)
        elif path.exists():
            yield path
        else:
            raise ProjectError(f"{path} does not exist: give image files or folders of images")


def _read_ahead(files: Sequence[Path], classifier: Classifier, batch: int) -> "Iterator[list[LoadedFile]]":
    """Yields the images of the files, `batch` at a time; the next batches are read meanwhile."""
    pool = ThreadPoolExecutor(os.cpu_count())
    pending: deque[list[Future[LoadedFile]]] = deque()
    try:
        for start in range(0, len(files), batch):
            pending.append([pool.submit(_load, file, classifier) for file in files[start : start + batch]])
            if len(pending) > BATCHES_AHEAD:
                yield [future.result() for future in pending.popleft()]
        while pending:
            yield [future.result() for future in pending.popleft()]
    finally:
        pool.shutdown(cancel_futures=True)


def _load(file: Path, classifier: Classifier) -> "LoadedFile":
    try:
        return file, load(file, classifier.size, classifier.ranges)
    except BrokenImage as error:
        return file, str(error)


def _predictions(
    classifier: Classifier, part: "list[LoadedFile]", broken: Callable[[str], None]
) -> Iterator[Prediction]:
    import numpy as np

    for _, pixels in part:
        if isinstance(pixels, str):
            broken(pixels)
    loaded = [(file, pixels) for file, pixels in part if not isinstance(pixels, str)]
    if not loaded:
        return
    rows = classifier.probabilities(np.stack([pixels for _, pixels in loaded]))
    for (file, _), row in zip(loaded, rows, strict=True):
        yield as_prediction(classifier.classes, row, printable(str(file)))
