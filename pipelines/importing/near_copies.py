"""Near-copies among the images of a project: found by fingerprints and confirmed on the images themselves.

A near-copy of a test image in the training split is a leak: the classifier has seen the answer.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gradebook.storage import splits
from gradebook.storage.duplicates import near_duplicates, stack_fingerprints
from gradebook.storage.files import write_json
from gradebook.storage.image_detail import file_comparison
from gradebook.storage.samples import Sample, Split
from gradebook.storage.store import tables_of

if TYPE_CHECKING:
    from gradebook.storage.store import Store

CACHE_FILE = "near_leaks.json"  # of a project

Pair = tuple[Sample, Sample]  # the later sample, and the earlier one that it is a near-copy of


class NearCopies:
    """Finds near-copies among some samples. Files are read once, and only where fingerprints are similar."""

    def __init__(self, known: Sequence[Sample], new: Sequence[Sample]):
        """Takes earlier samples, and new ones that came after them."""
        self._samples = [*known, *new]
        self._known, self._new = (stack_fingerprints([s.fingerprint for s in part]) for part in (known, new))
        self._is_same = file_comparison([(s.filepath, s.sample_id) for s in self._samples])

    def pairs(self) -> list[Pair]:
        """Returns each new sample that is a near-copy of an earlier sample, with the most similar of these."""
        return self._paired(None)

    def pairs_across_splits(self) -> list[Pair]:
        """Returns each new sample that is a near-copy of an earlier one in the other split, with the most similar."""
        splits = np.array([s.split is Split.TEST for s in self._samples], np.int64)
        return self._paired(splits) if len(np.unique(splits)) == 2 else []

    def _paired(self, groups: NDArray[np.int64] | None) -> list[Pair]:
        pairs = near_duplicates(self._new, self._known, self._is_same, groups=groups)
        return [(self._samples[len(self._known) + new], self._samples[earlier]) for new, earlier in pairs.tolist()]


def split_leaks(store: "Store", *, is_cached: bool = True) -> list[tuple[str, str]]:
    """Returns the files of a project's near-copies across splits: one in each, the one that came later first.

    Args:
        store: the project.
        is_cached: whether to cache the result in the project, with a stamp of the tables that it depends on.
    """
    if not is_cached:
        return _find_split_leaks(store)
    path, stamp = store.project.root / CACHE_FILE, tables_of(store.project).stamp(splits.TABLES)
    try:
        cached = json.loads(path.read_text(encoding="utf-8"))
        if stamp is not None and cached["stamp"] == stamp:
            return [(later, earlier) for later, earlier in cached["pairs"]]
    except (OSError, ValueError, KeyError, TypeError):  # missing, damaged or of another version
        pass
    pairs = _find_split_leaks(store)
    if stamp is not None:
        with suppress(OSError):  # a read-only or full disk: they are computed again next time
            write_json(path, {"stamp": stamp, "pairs": pairs})
    return pairs


def _find_split_leaks(store: "Store") -> list[tuple[str, str]]:
    pairs = NearCopies([], store.catalog.samples()).pairs_across_splits()
    return [(later.filepath, earlier.filepath) for later, earlier in pairs]
