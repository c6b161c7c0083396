"""A folder as a stream: its image files in the order in which the disk tells them, read ahead by several threads.

However many files there are, memory holds the open directories and the batches that are being read.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from gradebook.pipelines.importing.file_discovery import is_directory, misnamed, printable
from gradebook.storage.images import BrokenImage, is_image

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gradebook.pipelines.pool.holdout_overlap import Overlap

AHEAD = 2  # batches that are read while one is scored


@dataclass(frozen=True, slots=True)
class Found:
    """An image file, or something that should be one or hold some and cannot be looked at."""

    filepath: str  # absolute, and such that it can be printed
    refused: str = ""  # one sentence why it cannot be looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What is in one file."""

    filepath: str
    broken: str = ""  # one sentence why it cannot be used
    sample_id: str = ""
    pixels: "NDArray[np.uint8] | None" = None  # (3, S, S); none where nobody needs them
    overlap: "Overlap | None" = None  # where it is in a set to leave out


def walk(folder: str, above: tuple[tuple[int, int], ...] = ()) -> Iterator[Found]:
    """Yields the image files at any depth below a folder, unsorted: a directory of millions is not listed first.

    The order is the disk's, the same as long as nothing changes. Links are followed, unless they lead to a directory
    that they lie in. Hidden directories are left out.
    """
    try:
        status = os.stat(folder)  # noqa: PTH116  # names that are not UTF-8 are easier as strings
        here = (status.st_dev, status.st_ino)
        if here in above:
            return
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith(".") and is_directory(entry):
                    yield from walk(entry.path, (*above, here))
                elif is_image(Path(entry.name)):
                    yield _found(entry.path)
    except OSError as error:
        yield Found(printable(folder), f"the directory cannot be read ({error.strerror or error})")


def batches(found: Iterable[Found], size: int) -> Iterator[list[Found]]:
    """Yields `size` at a time; fewer at the end."""
    rest = iter(found)
    while batch := list(islice(rest, size)):
        yield batch


def read_ahead(
    found: Iterable[list[Found]], read: Callable[[Found], Read], threads: int
) -> Iterator[tuple[list[Found], list[Read]]]:
    """Yields each batch with what is in its files, in order, while the next ones are being read."""
    executor = ThreadPoolExecutor(threads)
    waiting: deque[tuple[list[Found], list[Future[list[Read]]]]] = deque()
    try:
        for batch in found:
            parts = [batch[start::threads] for start in range(threads)]
            waiting.append((batch, [executor.submit(_read_all, part, read) for part in parts]))
            if len(waiting) > AHEAD:
                yield _done(*waiting.popleft())
        while waiting:
            yield _done(*waiting.popleft())
    finally:
        executor.shutdown(cancel_futures=True)


def reader(size: int, overlap: "Callable[[str, Callable[[], bytes]], Overlap | None]") -> Callable[[Found], Read]:
    """Returns a function that reads one file.

    Args:
        size: S, pixels a side that the classifier wants.
        overlap: is asked of each image, with its id and a function that makes its fingerprint, whether it is to be
            left out.
    """
    import numpy as np

    from gradebook.storage.duplicates import fingerprint
    from gradebook.storage.images import content_of, decode, square
    from gradebook.storage.samples import sample_id

    def read(found: Found) -> Read:
        if found.refused:
            return Read(filepath=found.filepath, broken=found.refused)
        try:
            content = content_of(Path(found.filepath))
            image, _ = decode(content, size)
        except BrokenImage as error:
            return Read(filepath=found.filepath, broken=str(error))
        name = sample_id(content)
        left_out = overlap(name, lambda: fingerprint(image))
        pixels = None if left_out else np.asarray(square(image, size)).transpose(2, 0, 1)
        return Read(filepath=found.filepath, sample_id=name, pixels=pixels, overlap=left_out)

    return read


def _read_all(part: Sequence[Found], read: Callable[[Found], Read]) -> list[Read]:
    return [read(found) for found in part]


def _done(batch: list[Found], futures: "list[Future[list[Read]]]") -> tuple[list[Found], list[Read]]:
    """Puts the threads' parts, every so-manieth file each, back into the order of the batch."""
    parts = [future.result() for future in futures]
    return batch, [parts[number % len(parts)][number // len(parts)] for number in range(len(batch))]


def _found(path: str) -> Found:
    why = misnamed(path)
    return Found(printable(path), why) if why else Found(path)
