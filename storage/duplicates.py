"""Near-duplicates: the same image, saved, scaled or recoloured slightly differently.

A fingerprint has 200 bytes. 8 bytes are a difference hash: a bit for each cell of a 9 x 8 grey thumbnail, whether it is
darker than its right neighbour. 192 bytes are an 8 x 8 RGB thumbnail. The hash finds candidates quickly, the thumbnail
confirms them, and `gradebook.storage.image_detail` then compares the images themselves.

Shape legend    N new images    M known images    P pairs
"""

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

BYTES = 200
COARSE = 36  # pixels to which a large image is first averaged, which is faster than filtering it in full
MARGIN = 1  # levels of 255 by which a neighbour must be brighter, so that noise in flat regions sets no bits
HAMMING = 3  # bits that the hashes of near-duplicates may differ in
BANDS = 4  # one more than HAMMING: of 4 bands of 16 bits, at least one is then the same
WINDOW = 32  # neighbours each image is compared with in a band: bounds the work where thousands look alike
MAX_LOOKS = 16  # of an image's candidates that get a second look, the most similar ones
CHUNK = 50_000  # pairs of thumbnails compared at once, at most 200 MB
DISTANCE = 16.0  # root mean square of thumbnail differences, in levels of 255
CORRELATION = 0.95  # of the thumbnails' edges: other lighting keeps it, another object on the same background does not
FLAT = 1.5  # levels, root mean square of the edges: below it a thumbnail has none to correlate
FLAT_DISTANCE = 3.0  # levels, in place of both for two flat images

Fingerprints = NDArray[np.uint8]


def fingerprint(image: Image.Image) -> bytes:
    """Returns the fingerprint of an RGB image of any size."""
    small = image.reduce((max(1, image.width // COARSE), max(1, image.height // COARSE)))
    cells = np.asarray(_scaled(small.convert("L"), (9, 8)), np.int16)
    rising = cells[:, 1:] > cells[:, :-1] + MARGIN
    return np.packbits(rising).tobytes() + np.asarray(_scaled(small, (8, 8)), np.uint8).tobytes()


IsSame = Callable[[int, int], bool]  # a second look at two images, by their positions


def near_duplicates(
    new: Fingerprints,
    known: Fingerprints,
    is_same: IsSame | None = None,
    *,
    groups: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Finds for every new image the most similar earlier one, if there is a near-duplicate.

    Args:
        new: (N, 200) fingerprints.
        known: (M, 200) fingerprints of images that came before.
        is_same: a second look at two images with similar fingerprints, by their positions in `known` followed by
            `new`; without it the fingerprints decide.
        groups: (M + N,) numbers; only images of different groups are compared. By default all are.

    Returns:
        (P, 2) pairs in order of the first: an index into `new`, and an index into `known` followed by `new`. Each
        new image stands first in at most one pair, so a thousand copies are 999 pairs, and the second came earlier.
    """
    fingerprints = np.concatenate([known, new])
    assert fingerprints.shape[1:] == (BYTES,), "fingerprints have 200 bytes"
    if not len(new):
        return np.empty((0, 2), np.int64)
    _, first, group = np.unique(fingerprints.view(f"V{BYTES}").ravel(), return_index=True, return_inverse=True)
    order = np.sort(first)  # one image of each fingerprint, in order of import
    earlier = np.full(len(fingerprints), -1)
    unlike = None if groups is None else groups[order]
    for later, candidates in _candidates_of_each(fingerprints[order], unlike, int(np.searchsorted(order, len(known)))):
        matches = (other for other in order[candidates] if is_same is None or is_same(int(other), int(order[later])))
        earlier[order[later]] = next(matches, -1)
    _match_equal_fingerprints(earlier, first[group], len(known), is_same, groups)
    matched = np.flatnonzero(earlier[len(known) :] >= 0)
    return np.stack([matched, earlier[len(known) :][matched]], axis=1)


class FingerprintIndex:
    """An index of known images, queried one new image at a time. Thread-safe."""

    def __init__(self, fingerprints: Fingerprints):
        """Takes (M, 200) fingerprints."""
        self._every, self._hashes = fingerprints, _hashes(fingerprints)
        bands = [_band(self._hashes, band) for band in range(BANDS)]
        self._orders = [np.argsort(band, kind="stable") for band in bands]
        self._sorted = [band[order] for band, order in zip(bands, self._orders, strict=True)]

    def find(self, fingerprint: bytes, is_same: Callable[[int], bool] = lambda known: True) -> int | None:
        """Returns the index of the most similar known image if it is a near-duplicate, else None.

        Args:
            fingerprint: of the new image.
            is_same: a second look at the new image and a known one, by its index.
        """
        new = stack_fingerprints([fingerprint])
        code = _hashes(new)
        matches = []
        for band, (order, keys) in enumerate(zip(self._orders, self._sorted, strict=True)):
            first, last = (np.searchsorted(keys, _band(code, band)[0], side=side) for side in _SIDES)
            matches.append(order[first:last])
        near = np.unique(np.concatenate(matches))
        near = near[_bits(self._hashes[near] ^ code) <= HAMMING]
        pairs = np.stack([np.arange(len(near)), np.full(len(near), len(near))], axis=1)
        pairs, distances = _confirmed(np.concatenate([self._every[near], new]), pairs)
        nearest: list[int] = near[pairs[np.argsort(distances, kind="stable")[:MAX_LOOKS], 0]].tolist()
        return next((known for known in nearest if is_same(known)), None)


def _scaled(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    # A triangle filter: copies of half the size then differ in 1 bit in the median, with a box filter in 4.
    return image.resize(size, Image.Resampling.BILINEAR)


def stack_fingerprints(fingerprints: list[bytes]) -> Fingerprints:
    """Returns (N, 200) for N fingerprints."""
    return np.frombuffer(b"".join(fingerprints), np.uint8).reshape(-1, BYTES)


def _candidates_of_each(
    fingerprints: Fingerprints, groups: NDArray[np.int64] | None, start: int
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yields each image from `start` on with earlier ones of similar fingerprints, the most similar first."""
    pairs = _candidates(_hashes(fingerprints), fingerprints[:, 8:])
    pairs = pairs[pairs[:, 1] >= start]
    if groups is not None:
        pairs = pairs[groups[pairs[:, 0]] != groups[pairs[:, 1]]]
    pairs, distances = _confirmed(fingerprints, pairs)
    pairs = pairs[np.lexsort((pairs[:, 0], distances, pairs[:, 1]))]
    later, first = np.unique(pairs[:, 1], return_index=True)
    for number, earlier in zip(later.tolist(), np.split(pairs[:, 0], first[1:]), strict=False):
        yield number, earlier[:MAX_LOOKS]


def _match_equal_fingerprints(
    earlier: NDArray[np.int64],
    first: NDArray[np.int64],
    start: int,
    is_same: IsSame | None,
    groups: NDArray[np.int64] | None,
) -> None:
    """Fills in, from `start` on, the earlier image of those that are not the first with their fingerprint.

    Images of one fingerprint that differ at a second look are compared with each other, up to `MAX_LOOKS` of them.
    """
    distinct: dict[int, dict[int, list[int]]] = {}  # first image of the fingerprint -> group -> images
    for index in np.flatnonzero(np.isin(first, first[first != np.arange(len(first))])).tolist():
        group = 0 if groups is None else int(groups[index])
        known = distinct.setdefault(int(first[index]), {})
        others = [i for g, part in known.items() if groups is None or g != group for i in part]
        if index >= start and earlier[index] < 0:
            earlier[index] = next((other for other in others if is_same is None or is_same(other, index)), -1)
        own = known.setdefault(group, [])
        is_distinct = earlier[index] < 0 or index == first[index] or groups is not None
        if is_distinct and len(own) < MAX_LOOKS:
            own.append(index)


def _candidates(hashes: NDArray[np.uint64], thumbnails: Fingerprints) -> NDArray[np.int64]:
    """Returns (P, 2) pairs (earlier, later), each once, whose hashes differ in at most `HAMMING` bits.

    For each band the images are sorted by it, then by the other bands and by brightness, and each is compared
    with the next `WINDOW` of the same band. All pairs are found unless more images than that share a band.
    """
    brightness = thumbnails.sum(axis=1, dtype=np.int64)
    codes_of_bands = []
    for band in range(BANDS):
        shift = np.uint64(16 * band)
        turned = (hashes << shift) | (hashes >> np.uint64((64 - 16 * band) % 64)) if band else hashes
        order = np.lexsort((brightness, turned))
        key = turned[order] >> np.uint64(48)
        start = np.arange(len(order) - 1)
        for step in range(1, WINDOW + 1):
            start = start[start < len(order) - step]
            start = start[key[start] == key[start + step]]
            if not len(start):
                break
            a, b = order[start], order[start + step]
            near = _bits(hashes[a] ^ hashes[b]) <= HAMMING
            codes_of_bands.append(np.minimum(a, b)[near] * len(order) + np.maximum(a, b)[near])
    codes = np.unique(np.concatenate([np.empty(0, np.int64), *codes_of_bands]))
    return np.stack([codes // len(hashes), codes % len(hashes)], axis=1)


def _confirmed(fingerprints: Fingerprints, pairs: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Returns the pairs with similar thumbnails, and their distances."""
    distances = np.empty(len(pairs), np.float32)
    similar = np.empty(len(pairs), bool)
    flat = _flat(fingerprints)
    for start in range(0, len(pairs), CHUNK):
        left, right = pairs[start : start + CHUNK].T
        a, b = fingerprints[left, 8:].astype(np.float32), fingerprints[right, 8:].astype(np.float32)
        distance = np.sqrt(np.mean((a - b) ** 2, axis=1))
        near = flat[left] & flat[right] & (distance <= FLAT_DISTANCE)
        edged = ~flat[left] & ~flat[right] & (distance <= DISTANCE)
        near[edged] = _same_edges(a[edged], b[edged])
        distances[start : start + CHUNK], similar[start : start + CHUNK] = distance, near
    return pairs[similar], distances[similar]


def _flat(fingerprints: Fingerprints) -> NDArray[np.bool_]:
    """Returns (N,): whether a thumbnail has no edges to correlate."""
    flat = np.empty(len(fingerprints), bool)
    for start in range(0, len(fingerprints), CHUNK):
        edges = _edges(fingerprints[start : start + CHUNK, 8:].astype(np.float32))
        flat[start : start + CHUNK] = np.sqrt(np.mean(edges**2, axis=1)) < FLAT
    return flat


def _same_edges(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Returns (P,): whether the edges of two (P, 192) thumbnails correlate; none of them may be flat."""
    a_edges, b_edges = _edges(a), _edges(b)
    norms = np.linalg.norm(a_edges, axis=1) * np.linalg.norm(b_edges, axis=1)
    return np.asarray(np.sum(a_edges * b_edges, axis=1) >= CORRELATION * norms)


def _edges(thumbnails: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns (P, 336): the differences of vertical and of horizontal neighbours, channel by channel."""
    cells = thumbnails.reshape(-1, 8, 8, 3)
    down, right = np.diff(cells, axis=1), np.diff(cells, axis=2)
    return np.concatenate([down.reshape(-1, 168), right.reshape(-1, 168)], axis=1)


def _hashes(fingerprints: Fingerprints) -> NDArray[np.uint64]:
    return np.ascontiguousarray(fingerprints[:, :8]).view(">u8").ravel().astype(np.uint64)


def _band(hashes: NDArray[np.uint64], band: int) -> NDArray[np.uint64]:
    return (hashes >> np.uint64(16 * (BANDS - 1 - band))) & np.uint64(0xFFFF)


_SIDES: tuple[Literal["left"], Literal["right"]] = ("left", "right")
_ONES = np.array([value.bit_count() for value in range(1 << 16)], np.uint8)


def _bits(values: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Returns how many bits are set in each value; numpy 1 has no function for it."""
    return np.asarray(_ONES[values.view(np.uint16).reshape(-1, 4)].sum(axis=1, dtype=np.int64))
