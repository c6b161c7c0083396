"""Compares two images area by area, if their fingerprints say that they are near-duplicates.

A fingerprint has 8 x 8 cells, in which all frames of a fixed camera and all pages of a book are alike. At 64 x 64
pixels a near-duplicate (saved, scaled or recoloured) differs by little everywhere; another object or another text
differs by much somewhere.

Shape legend    S pixels a side
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gradebook.storage.images import BrokenImage, decode
from gradebook.storage.sample_files import content_of_sample

DECODED_SIZE = 128  # pixels to decode at: enough for the finest detail
SIZES = ((128, 64), (64, 32), (0, 16))  # shorter side of the image in pixels -> S: averaged, compression shows less
AREA, STRIDE = 8, 4  # pixels: side of an area, and distance between areas
MIN_DIFFERENCE = 6.0  # levels of 255, root mean square: an area that differs by less is the same
RELATIVE_DIFFERENCE = 0.4  # of an area's standard deviation, likewise
CACHED_DETAILS = 50_000  # of at most 4 kB

Detail = NDArray[np.uint8]  # (S, S), grey


def detail(image: Image.Image) -> Detail:
    """Returns the detail of an RGB image, 64, 32 or 16 pixels a side."""
    side = next(size for shorter, size in SIZES if min(image.size) >= shorter)
    small = image.convert("L").resize((side, side), Image.Resampling.BILINEAR, reducing_gap=3)
    return np.asarray(small, np.uint8)


def is_same(one: Detail, other: Detail) -> bool:
    """Returns whether two images show the same in every area, up to brightness and contrast of the whole."""
    side = min(len(one), len(other))
    a, b = _averaged(one, side), _averaged(other, side)
    gain, offset = np.polynomial.polynomial.polyfit(b.ravel(), a.ravel(), 1)[::-1] if np.ptp(b) else (1.0, 0.0)
    fitted = gain * b + offset
    difference = np.sqrt(np.mean(_areas(a - fitted) ** 2, axis=-1))
    contrast = np.minimum(_areas(a).std(axis=-1), _areas(fitted).std(axis=-1))
    return bool(np.all(difference <= np.maximum(MIN_DIFFERENCE, RELATIVE_DIFFERENCE * contrast)))


def file_comparison(files: Sequence[tuple[str, str]]) -> Callable[[int, int], bool]:
    """Returns a function that compares two of these images by their positions.

    Where a file cannot be read, or holds another image by now, the two count as the same: their fingerprints decide.

    Args:
        files: path and sample id of each.
    """

    @lru_cache(CACHED_DETAILS)
    def read(position: int) -> Detail | None:
        return read_detail(*files[position])

    def compare(one: int, other: int) -> bool:
        a, b = read(one), read(other)
        return a is None or b is None or is_same(a, b)

    return compare


def read_detail(filepath: str, sample_id: str) -> Detail | None:
    """Returns the detail of a sample's image, None if its file cannot be read or holds another image by now."""
    try:
        return detail(decode(content_of_sample(Path(filepath), sample_id), DECODED_SIZE)[0])
    except BrokenImage:
        return None


def _averaged(values: Detail, side: int) -> NDArray[np.float32]:
    step = len(values) // side
    averaged: NDArray[np.float32] = values.reshape(side, step, side, step).mean(axis=(1, 3), dtype=np.float32)
    return averaged


def _areas(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns (areas, AREA * AREA): overlapping areas of the image."""
    windows = np.lib.stride_tricks.sliding_window_view(values, (AREA, AREA))[::STRIDE, ::STRIDE]
    return windows.reshape(-1, AREA * AREA)
