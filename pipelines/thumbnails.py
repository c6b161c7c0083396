"""Small pictures of a project's large images, for whoever looks at many at once: `thumbnails/`.

A telephone's photograph has megabytes; two hundred of them take a grid many seconds to decode and FiftyOne's browser
longer to fetch. An import decodes each anyway and keeps its thumbnail; of what was imported before, whoever first asks.
"""

import io
from pathlib import Path

from PIL import Image

from pipelines.keeping import keep
from storage import cache_files
from storage.images import BrokenImage, open_rgb, open_with_content
from storage.project import Project
from storage.samples import sample_id

SIDE = 320  # pixels of the longer side
LARGE = 200_000  # bytes of a file from which on its image has a thumbnail
QUALITY = 90  # of the JPEG


def keep_thumbnail(project: Project, sample: str, image: Image.Image, size: int) -> None:
    """Keeps a thumbnail of an image if its file is large.

    Args:
        project: whose directory keeps it.
        sample: the id of the image's sample.
        image: the image, perhaps at a fraction of its size. Where that is smaller than a thumbnail, none is kept.
        size: bytes of its file.
    """
    if size >= LARGE and max(image.size) >= SIDE:
        keep(cache_files.thumbnails(project), sample, as_jpeg(image, SIDE))


def open_small(project: Project, sample: str, filepath: Path, side: int) -> Image.Image:
    """Returns an image of at least `side` pixels the longer way, if it has so many, from its thumbnail if that will do.

    Raises:
        BrokenImage: there is no thumbnail that will do, and the file cannot be read.
    """
    if side > SIDE:
        return open_rgb(filepath, side)
    try:
        return open_rgb(cache_files.thumbnails(project).path(sample))
    except BrokenImage:  # it is damaged, or there is none
        if not _is_large(filepath):
            return open_rgb(filepath, side)
    image, content = open_with_content(filepath, SIDE)
    if sample_id(content) == sample:
        keep_thumbnail(project, sample, image, len(content))
    return image


def as_jpeg(image: Image.Image, side: int) -> bytes:
    """Returns an image as a JPEG file of at most `side` pixels either way."""
    small = image.copy()
    small.thumbnail((side, side))
    content = io.BytesIO()
    small.save(content, "JPEG", quality=QUALITY)
    return content.getvalue()


def _is_large(path: Path) -> bool:
    try:
        return path.stat().st_size >= LARGE
    except OSError:
        return False
