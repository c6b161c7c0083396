"""A sample: one image's content, whatever its files are called."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum


class Split(StrEnum):
    """What a sample is for. A test sample is never trained on, nor used to choose anything."""

    TRAIN = "train"
    TEST = "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One distinct image of the catalogue.

    Files with the same bytes are one sample; `filepath` is the first of them that was imported.
    """

    sample_id: str  # content hash, 32 hexadecimal digits: see `sample_id`
    filepath: str  # absolute
    split: Split
    width: int  # pixels, after EXIF rotation
    height: int  # pixels, after EXIF rotation
    fingerprint: bytes  # 200 bytes for near-duplicates: see `gradebook.storage.duplicates.fingerprint`


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One imported file: which sample it holds, and what says that it has not changed since."""

    filepath: str  # absolute
    sample_id: str
    size: int  # bytes
    mtime_ns: int  # nanoseconds since 1970, as the file system tells it


def sample_id(content: bytes) -> str:
    """Returns the id of an image file's bytes: 128 bits of BLAKE2b as 32 hexadecimal digits."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()
