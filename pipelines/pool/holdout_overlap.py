"""Which images of a stream are in a test set: the same bytes, or almost the same picture."""

import hashlib
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path

from gradebook.storage.duplicates import FingerprintIndex, stack_fingerprints
from gradebook.storage.project import SETTINGS, ProjectError


class Overlap(StrEnum):
    """How an image is in the set to leave out."""

    SAME = "same"  # the same bytes
    ALIKE = "alike"  # a near-duplicate


class LeftOut:
    """The images of folders, and of projects' test splits."""

    def __init__(self, places: Sequence[Path]):
        """Reads them.

        Raises:
            ProjectError: a place is neither a project with test images nor a folder of images.
        """
        pairs = dict(pair for place in places for pair in _read(place))
        self._ids = frozenset(pairs)
        self._known = FingerprintIndex(stack_fingerprints(list(pairs.values())))

    def __len__(self) -> int:
        return len(self._ids)

    def digest(self) -> str:
        """Returns what tells these images from others."""
        return hashlib.blake2b("".join(sorted(self._ids)).encode(), digest_size=16).hexdigest() if self._ids else ""

    def overlap(self, sample_id: str, fingerprint: Callable[[], bytes]) -> Overlap | None:
        """Returns how an image is among them, if it is."""
        if not self._ids:
            return None
        if sample_id in self._ids:
            return Overlap.SAME
        return Overlap.ALIKE if self._known.find(fingerprint()) is not None else None


def _read(place: Path) -> list[tuple[str, bytes]]:
    """Returns id and fingerprint of each image."""
    if (place / SETTINGS).exists():
        from gradebook.storage.samples import Split
        from gradebook.storage.store import open_store

        found = [(s.sample_id, s.fingerprint) for s in open_store(place).catalog.samples(Split.TEST)]
    else:
        from gradebook.pipelines.importing.file_discovery import find_images
        from gradebook.pipelines.importing.image_reader import ReadImage, read_images

        files, _ = find_images(place.expanduser().resolve())
        size = sum(file.size for file in files) / max(len(files), 1)
        read = read_images([file.filepath for file in files], size)
        found = [(image.sample_id, image.fingerprint) for image in read if isinstance(image, ReadImage)]
    if not found:
        raise ProjectError(f"{place} has no test images to leave out: give a folder of them, or a project with some")
    return found
