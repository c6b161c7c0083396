"""Finds images of a stream that are also in a test set: the same bytes, or a near-duplicate."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from gradebook.storage.duplicates import FingerprintIndex, stack_fingerprints
from gradebook.storage.project import SETTINGS, ProjectError

if TYPE_CHECKING:
    from gradebook.storage.image_detail import Detail

CACHED_DETAILS = 50_000  # of test images, at most 4 kB each


class Overlap(StrEnum):
    """How an image overlaps with the test set."""

    SAME = "same"  # the same bytes
    ALIKE = "alike"  # a near-duplicate


@dataclass(frozen=True, slots=True)
class HoldoutImage:
    """An image of the test set."""

    sample_id: str
    filepath: str
    fingerprint: bytes


class HoldoutIndex:
    """An index of test images, from folders and from the test splits of projects."""

    def __init__(self, sources: Sequence[Path], *, own: Path | None = None):
        """Reads the images.

        Args:
            sources: folders of images, and projects.
            own: a project whose test split is left out too, if it has one.

        Raises:
            ProjectError: a source is neither a project with test images nor a folder of images.
        """
        images = {image.sample_id: image for source in sources for image in _read(source)}
        images |= {} if own is None else {image.sample_id: image for image in _test_split(own)}
        self._ids = frozenset(images)
        self._images = list(images.values())
        self._index = FingerprintIndex(stack_fingerprints([image.fingerprint for image in self._images]))
        self._detail = lru_cache(CACHED_DETAILS)(self._read_detail)

    def __len__(self) -> int:
        return len(self._ids)

    def digest(self) -> str:
        """Returns a digest of the set of images."""
        return hashlib.blake2b("".join(sorted(self._ids)).encode(), digest_size=16).hexdigest() if self._ids else ""

    def overlap(
        self, sample_id: str, fingerprint: Callable[[], bytes], detail: Callable[[], "Detail"]
    ) -> Overlap | None:
        """Returns how an image overlaps, None if it does not.

        Args:
            sample_id: of the image.
            fingerprint: computes its fingerprint; called only if there are test images.
            detail: computes its detail; called only if its fingerprint is similar to one of these.
        """
        if not self._ids:
            return None
        if sample_id in self._ids:
            return Overlap.SAME

        def is_same(position: int) -> bool:
            from gradebook.storage.image_detail import is_same

            known = self._detail(position)
            return known is None or is_same(known, detail())

        return Overlap.ALIKE if self._index.find(fingerprint(), is_same) is not None else None

    def _read_detail(self, position: int) -> "Detail | None":
        """Returns the detail of a test image, None if its file cannot be read: its fingerprint then decides."""
        from gradebook.storage.image_detail import read_detail

        return read_detail(self._images[position].filepath, self._images[position].sample_id)


def _read(source: Path) -> list[HoldoutImage]:
    if (source / SETTINGS).exists():
        images = _test_split(source)
    else:
        from gradebook.pipelines.importing.file_discovery import find_images
        from gradebook.pipelines.importing.image_reader import ReadImage, read_images

        files, _ = find_images(source.expanduser().resolve())
        size = sum(file.size for file in files) / max(len(files), 1)
        results = zip(files, read_images([file.filepath for file in files], size), strict=True)
        images = [HoldoutImage(r.sample_id, f.filepath, r.fingerprint) for f, r in results if isinstance(r, ReadImage)]
    if not images:
        raise ProjectError(f"{source} has no test images to leave out: give a folder of them, or a project with some")
    return images


def _test_split(project: Path) -> list[HoldoutImage]:
    from gradebook.storage.samples import Split
    from gradebook.storage.store import open_store

    samples = open_store(project).catalog.samples(Split.TEST)
    return [HoldoutImage(sample.sample_id, sample.filepath, sample.fingerprint) for sample in samples]
