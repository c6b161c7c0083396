"""Reading many image files: their ids, sizes and fingerprints."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from gradebook.pipelines.image_cache import save_thumbnail
from gradebook.storage.duplicates import fingerprint
from gradebook.storage.images import BrokenImage, content_of, decode
from gradebook.storage.project import Project
from gradebook.storage.samples import sample_id

SIZE = 64  # pixels a JPEG is read at: enough for a fingerprint
SMALL = 20_000  # bytes; below, a file costs more Python than decoding, and threads only wait for each other
BATCH = 16  # files a thread takes at a time


@dataclass(frozen=True, slots=True)
class ReadImage:
    """What one image file says of itself."""

    sample_id: str
    width: int  # pixels
    height: int  # pixels
    fingerprint: bytes


def read_images(
    filepaths: Sequence[str], mean_size: float, project: Project | None = None, read: Callable[[], None] = lambda: None
) -> list[ReadImage | str]:
    """Reads the files in the order given; calls `read` after each.

    Pillow lets other threads run while it decodes, so large images are read by as many threads as there are cores.

    Args:
        filepaths: the files.
        mean_size: their bytes on average.
        project: keeps thumbnails of large images, if given.
        read: called after each.

    Returns:
        For each file what it says, or one sentence why it cannot be used.
    """
    results: list[ReadImage | str] = []
    for result in _results(filepaths, mean_size, project):
        results.append(result)
        read()
    return results


def _results(filepaths: Sequence[str], mean_size: float, project: Project | None) -> Iterator[ReadImage | str]:
    if mean_size < SMALL:
        yield from (_read(path, project) for path in filepaths)
        return
    batches = [filepaths[start : start + BATCH] for start in range(0, len(filepaths), BATCH)]
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        for batch in pool.map(lambda paths: [_read(path, project) for path in paths], batches):
            yield from batch
    finally:
        pool.shutdown(cancel_futures=True)


def _read(filepath: str, project: Project | None) -> ReadImage | str:
    try:
        content = content_of(Path(filepath))
        image, (width, height) = decode(content, SIZE)
    except BrokenImage as error:
        return str(error)
    sample = sample_id(content)
    if project is not None:
        save_thumbnail(project, sample, image, len(content))
    return ReadImage(sample, width, height, fingerprint(image))
