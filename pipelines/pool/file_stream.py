"""The image files of a folder as a stream, in the order of the file system, read ahead by several threads.

Memory holds only the open directories and the batches that are being read, for any number of files.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from gradebook.pipelines.importing.file_discovery import printable
from gradebook.pipelines.importing.file_discovery import walk as find_files
from gradebook.storage.images import BrokenImage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gradebook.pipelines.pool.holdout_overlap import Overlap
    from gradebook.storage.image_detail import Detail
    from gradebook.storage.images import Ranges

BATCHES_AHEAD = 2  # batches that are read while one is scored


@dataclass(frozen=True, slots=True)
class ImageFile:
    """The path of an image file, or of something that cannot be opened."""

    filepath: str  # absolute and printable
    error: str = ""  # why it cannot be opened


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedImage:
    """The content of an image file."""

    filepath: str
    error: str = ""  # why it cannot be read
    sample_id: str = ""
    pixels: "NDArray[np.uint8] | None" = None  # (3, S, S); None where they are not needed
    overlap: "Overlap | None" = None  # with the test set


def walk(folder: str) -> Iterator[ImageFile]:
    """Yields the image files below a folder, as `gradebook.pipelines.importing.file_discovery.walk` does, unsorted."""
    for path, error in find_files(folder):
        yield ImageFile(printable(path), error)


def batched(files: Iterable[ImageFile], size: int) -> Iterator[list[ImageFile]]:
    """Yields `size` files at a time, and fewer at the end."""
    rest = iter(files)
    while batch := list(islice(rest, size)):
        yield batch


def read_ahead(
    batches: Iterable[list[ImageFile]], read: Callable[[ImageFile], LoadedImage], threads: int
) -> Iterator[tuple[list[ImageFile], list[LoadedImage]]]:
    """Yields each batch with its images, in order, while threads read the next ones."""
    executor = ThreadPoolExecutor(threads)
    pending: deque[tuple[list[ImageFile], list[Future[list[LoadedImage]]]]] = deque()
    try:
        for batch in batches:
            shares = [batch[start::threads] for start in range(threads)]
            pending.append((batch, [executor.submit(_read_all, share, read) for share in shares]))
            if len(pending) > BATCHES_AHEAD:
                yield _in_order(*pending.popleft())
        while pending:
            yield _in_order(*pending.popleft())
    finally:
        executor.shutdown(cancel_futures=True)


def image_reader(
    size: int,
    overlap: "Callable[[str, Callable[[], bytes], Callable[[], Detail]], Overlap | None]",
    ranges: "Ranges | None" = None,
) -> Callable[[ImageFile], LoadedImage]:
    """Returns a function that reads one file.

    Args:
        size: S, the classifier's image size in pixels.
        overlap: see `gradebook.pipelines.pool.holdout_overlap.HoldoutIndex.overlap`.
        ranges: of levels of more than 8 bits, as the classifier was trained.
    """
    import numpy as np

    from gradebook.storage.duplicates import fingerprint
    from gradebook.storage.image_detail import DECODED_SIZE, detail
    from gradebook.storage.images import decode, square
    from gradebook.storage.sample_files import content_of
    from gradebook.storage.samples import sample_id

    def read(file: ImageFile) -> LoadedImage:
        if file.error:
            return LoadedImage(filepath=file.filepath, error=file.error)
        try:
            content = content_of(Path(file.filepath))
            image, _ = decode(content, size, ranges)
        except BrokenImage as error:
            return LoadedImage(filepath=file.filepath, error=str(error))
        name = sample_id(content)
        in_test = overlap(name, lambda: fingerprint(image), lambda: detail(decode(content, DECODED_SIZE)[0]))
        pixels = None if in_test else np.asarray(square(image, size)).transpose(2, 0, 1)
        return LoadedImage(filepath=file.filepath, sample_id=name, pixels=pixels, overlap=in_test)

    return read


def _read_all(files: Sequence[ImageFile], read: Callable[[ImageFile], LoadedImage]) -> list[LoadedImage]:
    return [read(file) for file in files]


def _in_order(
    batch: list[ImageFile], futures: "list[Future[list[LoadedImage]]]"
) -> tuple[list[ImageFile], list[LoadedImage]]:
    """Puts the images that the threads have read, each an interleaved share, back into the order of the batch."""
    shares = [future.result() for future in futures]
    return batch, [shares[number % len(shares)][number // len(shares)] for number in range(len(batch))]
