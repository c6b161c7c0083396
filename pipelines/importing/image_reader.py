"""Reads many image files: their sample ids, sizes, fingerprints, and what decoding did to them."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.image_cache import save_thumbnail
from gradebook.pipelines.importing import image_quality
from gradebook.pipelines.importing.image_quality import Measures
from gradebook.storage.duplicates import fingerprint
from gradebook.storage.images import BrokenImage, inspect
from gradebook.storage.project import Project
from gradebook.storage.sample_files import content_of
from gradebook.storage.samples import sample_id

if TYPE_CHECKING:
    from PIL import Image

SIZE = 64  # pixels at which a JPEG is decoded: enough for a fingerprint
MIN_BYTES_FOR_THREADS = 20_000  # below, a file costs more Python than decoding, and threads wait for each other
THREAD_BATCH = 16  # files
MIN_CONTRAST = 8  # of 255, from the darkest to the brightest level of any channel; with less, an image shows nothing


@dataclass(frozen=True, slots=True)
class ReadImage:
    """An image file that was decoded."""

    sample_id: str
    width: int  # pixels
    height: int  # pixels
    fingerprint: bytes
    levels: str = ""  # which levels became black and white, where they have more than 8 bits
    pictures: int = 1  # in the file; the first is taken
    is_uniform: bool = False  # hardly anything can be seen
    quality: Measures | None = None  # None without cleanvision


def read_images(
    filepaths: Sequence[str],
    mean_size: float,
    project: Project | None = None,
    progress: Callable[[], None] = lambda: None,
) -> list[ReadImage | str]:
    """Reads files in the order given.

    Pillow lets other threads run while it decodes, so large images are read by as many threads as there are cores.

    Args:
        filepaths: the files.
        mean_size: their mean size in bytes.
        project: if given, thumbnails of large images are cached there, and levels are scaled by its ranges.
        progress: called after each file.

    Returns:
        For each file what was read, or one sentence why it cannot be used.
    """
    results: list[ReadImage | str] = []
    for result in _results(filepaths, mean_size, project):
        results.append(result)
        progress()
    return results


def _results(filepaths: Sequence[str], mean_size: float, project: Project | None) -> Iterator[ReadImage | str]:
    if mean_size < MIN_BYTES_FOR_THREADS:
        yield from (_read(path, project) for path in filepaths)
        return
    batches = [filepaths[start : start + THREAD_BATCH] for start in range(0, len(filepaths), THREAD_BATCH)]
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        for batch in pool.map(lambda paths: [_read(path, project) for path in paths], batches):
            yield from batch
    finally:
        pool.shutdown(cancel_futures=True)


def _read(filepath: str, project: Project | None) -> ReadImage | str:
    try:
        content = content_of(Path(filepath))
        decoded = inspect(content, SIZE, None if project is None else project.levels)
    except BrokenImage as error:
        return str(error)
    sample = sample_id(content)
    if project is not None:
        save_thumbnail(project, sample, decoded.image, len(content))
    small = decoded.image.reduce(max(1, min(decoded.image.size) // SIZE))
    return ReadImage(
        sample_id=sample,
        width=decoded.width,
        height=decoded.height,
        fingerprint=fingerprint(decoded.image),
        levels=decoded.levels,
        pictures=decoded.pictures,
        is_uniform=_contrast(small) < MIN_CONTRAST,
        quality=image_quality.measure(small) if image_quality.is_available() else None,
    )


def _contrast(small: "Image.Image") -> int:
    """Returns the largest difference of levels in a channel, of an image averaged over areas: noise does not count."""
    extrema: Any = small.getextrema()
    return max(int(high) - int(low) for low, high in extrema)
