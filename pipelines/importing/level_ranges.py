"""Chooses the range of levels of more than 8 bits for all images of a project, at the first import that has some.

The rule of `gradebook.storage.images.level_range` is applied to the pixels of many images together, for each kind of
levels by itself: float, uint16, int, and colour of 16 bits. Two images of one camera are then scaled alike, however
dark they are. The project records the range, which stays the same. A range that a file declares goes before it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.process.progress import say
from gradebook.storage.images import COLOUR, LEVEL_SAMPLE, WHITES, BrokenImage, deep_levels, level_range
from gradebook.storage.project import Project, write_levels
from gradebook.storage.sample_files import content_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUFFIXES = frozenset({".png", ".apng", ".tif", ".tiff", ".pgm", ".pnm", ".ppm", ".jp2"})  # of files that may have them
MAX_IMAGES = 256  # whose pixels are looked at, evenly spaced through the files
CLIPPED = 0.05  # of the range: how far levels may lie beyond it before a message says so
PNG_DEPTH, PNG_HEADER = 24, 26  # byte of the number of bits, and bytes up to it


def choose_ranges(project: Project, filepaths: Sequence[str]) -> Project:
    """Records a range for the kinds of levels in files that the project has none of; returns the project with them.

    A project of an earlier version keeps the rule for each file alone, by which its images were embedded.

    Args:
        project: the project.
        filepaths: of images that are about to be imported.
    """
    if project.levels is None:
        return project
    candidates = [path for path in filepaths if _may_be_deep(path)]
    kinds: dict[str, list[NDArray[Any]]] = {}
    for path in candidates[:: max(1, len(candidates) // MAX_IMAGES)]:
        try:
            found = deep_levels(content_of(Path(path)))
        except BrokenImage:  # the import says so
            continue
        if found is not None:
            kind, levels = found
            kinds.setdefault(kind, []).append(levels.ravel()[:: max(1, levels.size * MAX_IMAGES // LEVEL_SAMPLE)])
    for kind in kinds.keys() & project.levels.keys():
        _warn_of_clipping(kind, project.levels[kind], kinds.pop(kind))
    if not kinds:
        return project
    ranges = {kind: _range(kind, levels) for kind, levels in kinds.items()}
    for kind, (black, white) in ranges.items():
        say(f"levels from {black:.6g} to {white:.6g} become black to white in all {kind} images of this project")
    return write_levels(project, ranges)


def _range(kind: str, levels: "list[NDArray[Any]]") -> tuple[float, float]:
    import numpy as np

    together = np.concatenate(levels)
    if kind == COLOUR and int(together.max(initial=0)) > WHITES[-2]:  # Pillow's upper 8 bits show them
        return 0.0, WHITES[-1]
    return level_range(together)


def _warn_of_clipping(kind: str, known: tuple[float, float], levels: "list[NDArray[Any]]") -> None:
    """Says how many images have levels far beyond the range that the project has for their kind."""
    import numpy as np

    black, white = known
    margin = CLIPPED * (white - black)
    ends = [np.percentile(finite, (0.2, 99.8)) for each in levels if (finite := each[np.isfinite(each)]).size]
    beyond = sum(bool(low < black - margin or high > white + margin) for low, high in ends)
    if beyond:
        say(
            f"{beyond} of {len(levels)} new {kind} images that were looked at have levels beyond {black:.6g} "
            f"to {white:.6g}, this project's range, and lose them: import all into a new project for a wider one"
        )


def _may_be_deep(path: str) -> bool:
    """Returns whether a file may have more than 8 bits by its name and, of a PNG, its header."""
    if Path(path).suffix.lower() not in SUFFIXES:
        return False
    try:
        with Path(path).open("rb") as file:
            head = file.read(PNG_HEADER)
    except OSError:
        return False
    return not head.startswith(b"\x89PNG") or head[PNG_DEPTH:][:1] == b"\x10"
