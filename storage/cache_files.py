"""Cached files of a project, one per sample and named by its id. They can be computed again at any time."""

import errno
import os
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from gradebook.storage.files import write_atomic
from gradebook.storage.project import Project

MIN_FREE_BYTES = 2**31  # left free on the disk for checkpoints and everything else
DIRECTORIES = SQUARES, THUMBNAILS = "squares", "thumbnails"  # subdirectories of a project
RGB, JPG = ".rgb", ".jpg"
TEMP_FILES = (f"{SQUARES}/*/*/.*{RGB}.*", f"{THUMBNAILS}/*/.*{JPG}.*")  # left by killed processes, below a project


@dataclass(frozen=True, slots=True)
class CacheFiles:
    """Cached files of one kind. Their directory may be deleted at any time, even while it is read."""

    directory: Path
    suffix: str  # of file names, with the dot

    def path(self, sample_id: str) -> Path:
        """Returns the path of a sample's file, which may not exist."""
        return self.directory / sample_id[:2] / f"{sample_id}{self.suffix}"

    def paths(self) -> Iterator[Path]:
        """Yields every file."""
        return self.directory.glob(f"*/[!.]*{self.suffix}")

    def write(self, sample_id: str, content: bytes) -> None:
        """Writes a sample's file atomically.

        Raises:
            OSError: it cannot be written, or too little space would be left on the disk.
        """
        path = self.path(sample_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(path.parent).free < MIN_FREE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_atomic(path, content)


def squares(project: Project, size: int) -> CacheFiles:
    """Returns the cached images for training on pixels: raw RGB of `size` by `size` pixels."""
    return CacheFiles(project.root / SQUARES / str(size), RGB)


def thumbnails(project: Project) -> CacheFiles:
    """Returns the cached thumbnails of large images."""
    return CacheFiles(project.root / THUMBNAILS, JPG)


def delete_cached(project: Project, sample_ids: Collection[str]) -> None:
    """Deletes the cached files of these samples."""
    sizes = [CacheFiles(path, RGB) for path in (project.root / SQUARES).glob("*")]
    for files in (*sizes, thumbnails(project)):
        for sample_id in sample_ids:
            files.path(sample_id).unlink(missing_ok=True)
