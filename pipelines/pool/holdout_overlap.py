"""Finds images of a stream that are also in a test set: the same bytes, or almost the same picture."""

import hashlib
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path

from gradebook.storage.duplicates import FingerprintIndex, stack_fingerprints
from gradebook.storage.project import SETTINGS, ProjectError


class Overlap(StrEnum):
    """How an image overlaps with the test set."""

    SAME = "same"  # the same bytes
    ALIKE = "alike"  # a near-duplicate


class HoldoutIndex:
    """An index of test images, from folders and from the test splits of projects."""

    def __init__(self, sources: Sequence[Path]):
        """Reads the images.

        Raises:
            ProjectError: a source is neither a project with test images nor a folder of images.
        """
        fingerprints = dict(pair for source in sources for pair in _read(source))
        self._ids = frozenset(fingerprints)
        self._index = FingerprintIndex(stack_fingerprints(list(fingerprints.values())))

    def __len__(self) -> int:
        return len(self._ids)

    def digest(self) -> str:
        """Returns a digest of the set of images."""
        return hashlib.blake2b("".join(sorted(self._ids)).encode(), digest_size=16).hexdigest() if self._ids else ""

    def overlap(self, sample_id: str, fingerprint: Callable[[], bytes]) -> Overlap | None:
        """Returns how an image overlaps, None if it does not. `fingerprint` is called only if it is needed."""
        if not self._ids:
            return None
        if sample_id in self._ids:
            return Overlap.SAME
        return Overlap.ALIKE if self._index.find(fingerprint()) is not None else None


def _read(source: Path) -> list[tuple[str, bytes]]:
    """Returns the id and the fingerprint of each image."""
    if (source / SETTINGS).exists():
        from gradebook.storage.samples import Split
        from gradebook.storage.store import open_store

        pairs = [(s.sample_id, s.fingerprint) for s in open_store(source).catalog.samples(Split.TEST)]
    else:
        from gradebook.pipelines.importing.file_discovery import find_images
        from gradebook.pipelines.importing.image_reader import ReadImage, read_images

        files, _ = find_images(source.expanduser().resolve())
        size = sum(file.size for file in files) / max(len(files), 1)
        images = read_images([file.filepath for file in files], size)
        pairs = [(image.sample_id, image.fingerprint) for image in images if isinstance(image, ReadImage)]
    if not pairs:
        raise ProjectError(f"{source} has no test images to leave out: give a folder of them, or a project with some")
    return pairs
