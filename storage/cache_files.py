"""Files that follow from a project's images and can be made again: one a sample, under the sample's id."""

import errno
import os
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from gradebook.storage.files import write_atomic
from gradebook.storage.project import Project

SPARE = 2**31  # bytes that are left free on the disk, for checkpoints and all else
DIRECTORIES = SQUARES, THUMBNAILS = "squares", "thumbnails"  # of a project
RGB, JPG = ".rgb", ".jpg"
TEMP_FILES = (f"{SQUARES}/*/*/.*{RGB}.*", f"{THUMBNAILS}/*/.*{JPG}.*")  # what a kill leaves, below a project


@dataclass(frozen=True, slots=True)
class CacheFiles:
    """Such files of one kind. The directory may be deleted at any time, also while somebody reads from it."""

    directory: Path
    suffix: str  # of their names, with its dot

    def path(self, sample_id: str) -> Path:
        """Returns where a sample's file is, if there is one."""
        return self.directory / sample_id[:2] / f"{sample_id}{self.suffix}"

    def paths(self) -> Iterator[Path]:
        """Yields every file."""
        return self.directory.glob(f"*/[!.]*{self.suffix}")

    def write(self, sample_id: str, content: bytes) -> None:
        """Writes a sample's file, whole or not at all.

        Raises:
            OSError: it cannot be written, or too little of the disk would be left.
        """
        path = self.path(sample_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(path.parent).free < SPARE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_atomic(path, content)


def squares(project: Project, size: int) -> CacheFiles:
    """Returns images as trainings on pixels see them: raw RGB of `size` by `size` pixels."""
    return CacheFiles(project.root / SQUARES / str(size), RGB)


def thumbnails(project: Project) -> CacheFiles:
    """Returns small pictures of large images, for people."""
    return CacheFiles(project.root / THUMBNAILS, JPG)


def delete_cached(project: Project, sample_ids: Collection[str]) -> None:
    """Deletes all that was derived from these samples."""
    sizes = [CacheFiles(path, RGB) for path in (project.root / SQUARES).glob("*")]
    for files in (*sizes, thumbnails(project)):
        for sample_id in sample_ids:
            files.path(sample_id).unlink(missing_ok=True)
