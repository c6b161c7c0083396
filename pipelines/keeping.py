"""Keeping what was derived from an image, as long as there is room for it."""

from pathlib import Path

from pipelines.process.progress import say
from storage.cache_files import Derived

_full: set[Path] = set()  # directories in which this process has failed to write


def keep(files: Derived, sample_id: str, content: bytes) -> None:
    """Keeps a sample's file; where that fails, this process says so and tries no more."""
    if files.directory in _full:
        return
    try:
        files.write(sample_id, content)
    except OSError as error:
        _full.add(files.directory)
        say(
            f"{files.directory} takes no more files ({error.strerror or error}), so that images are decoded anew each "
            "time, which is slower: make room there, and start this again"
        )
