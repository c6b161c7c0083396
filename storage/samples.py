"""Samples and files: a sample is the content of an image, independent of the names of its files."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Split(StrEnum):
    """The split of a sample. Test samples are never used for training or for any choice."""

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
    """One imported file: the sample that it holds, and the size and time by which a change is noticed."""

    filepath: str  # absolute
    sample_id: str
    size: int  # bytes
    mtime_ns: int  # time of the last modification, nanoseconds since 1970


def sample_id(content: bytes) -> str:
    """Returns the id of an image file's bytes: 128 bits of BLAKE2b as 32 hexadecimal digits."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def samples_schema() -> Any:
    """Returns the schema of the table of samples."""
    import pyarrow as pa

    return pa.schema(
        {
            "position": pa.int64(),  # the order of import
            "sample_id": pa.string(),
            "filepath": pa.string(),
            "split": pa.string(),
            "width": pa.int32(),
            "height": pa.int32(),
            "fingerprint": pa.binary(),
        }
    )


def files_schema() -> Any:
    """Returns the schema of the table of files."""
    import pyarrow as pa

    return pa.schema({"filepath": pa.string(), "sample_id": pa.string(), "size": pa.int64(), "mtime_ns": pa.int64()})
