"""Finds the file that a table names, if it writes the name differently than the file system.

Accents may be one character or two (Unicode NFC and NFD), folders may be separated by backslashes, a path may lead
over a link, and on some systems upper and lower case are the same. Many tables name images without their suffix.
"""

import os
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from functools import cache, cached_property
from itertools import chain
from pathlib import Path


class KnownFiles:
    """Files whose paths are known, such as those of an import."""

    def __init__(self, filepaths: Collection[str]):
        """Takes absolute paths."""
        self._filepaths = frozenset(filepaths)

    def find(self, name: str, bases: Sequence[Path]) -> str | None:
        """Returns the known path that a name means, None if there is none.

        Args:
            name: absolute, or relative to the first of `bases` that has it.
            bases: absolute.
        """
        candidates = [path for base in bases for path in _candidates(name, base)]
        exact = (path for path in candidates if path in self._filepaths)
        normalised = (self._normalised[path] for path in map(_nfc, candidates) if path in self._normalised)
        for path in (*exact, *normalised):
            return path
        # The candidate is another name of a known file if it is the same file on disk.
        same = (self._identities[i] for i in map(_identity, candidates) if i is not None and i in self._identities)
        stems = (self._stems[stem] for stem in map(_nfc, candidates) if len(self._stems.get(stem, ())) == 1)
        return next(same, None) or next(chain.from_iterable(stems), None)

    @cached_property
    def _normalised(self) -> dict[str, str]:
        return {_nfc(path): path for path in sorted(self._filepaths, reverse=True)}

    @cached_property
    def _stems(self) -> dict[str, list[str]]:
        stems: dict[str, list[str]] = {}
        for path in self._filepaths:
            stems.setdefault(_nfc(os.path.splitext(path)[0]), []).append(path)  # noqa: PTH122  # faster than pathlib's
        return stems

    @cached_property
    def _identities(self) -> dict[tuple[int, int], str]:
        identities = ((_identity(path), path) for path in sorted(self._filepaths, reverse=True))
        return {identity: path for identity, path in identities if identity is not None}


class DiskNames:
    """Files on disk."""

    def __init__(self) -> None:
        self._listed = cache(_list_directory)

    def find(self, name: str, base: Path) -> str:
        """Returns the path of the file that a name means; of one that does not exist, the path as it is written.

        Args:
            name: absolute, or relative to `base`.
            base: absolute.
        """
        candidates = list(_candidates(name, base))
        existing = (path for path in candidates if _identity(path) is not None)
        return next(existing, None) or next(filter(None, map(self._by_listing, candidates)), candidates[0])

    def _by_listing(self, path: str) -> str | None:
        """Returns the file whose path differs only in Unicode normalisation."""
        here = os.sep
        for part in Path(path).parts[1:]:
            name = part if _identity(os.path.join(here, part)) else self._listed(here).get(_nfc(part))  # noqa: PTH118
            if name is None:
                return None
            here = os.path.join(here, name)  # noqa: PTH118
        return here


def _candidates(name: str, base: Path) -> Iterator[str]:
    """Yields the paths that a name may mean."""
    for spelling in dict.fromkeys([name, name.replace("\\", "/")]):
        yield os.path.normpath(base / spelling)


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _identity(path: str) -> tuple[int, int] | None:
    """Returns device and inode of a file, None where there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116  # names that are not UTF-8 are easier as strings
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _list_directory(directory: str) -> dict[str, str]:
    """Returns the names in a directory by their normalised form."""
    try:
        return {_nfc(name): name for name in sorted(os.listdir(directory), reverse=True)}  # noqa: PTH208
    except OSError:
        return {}
