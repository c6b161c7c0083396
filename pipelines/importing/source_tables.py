"""Tables that stand for other programs' data sets, written below the project for `import_images` to read."""

import csv
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path, PurePosixPath

from gradebook.pipelines.importing.zip_archive import UNPACKED
from gradebook.storage.csv_cells import escape_cell
from gradebook.storage.files import atomic_path

HEADER = ("filepath", "label", "split", "by")


@dataclass(frozen=True, slots=True)
class SourceRow:
    """An image and one label of it; an image with several labels has several rows."""

    filepath: str
    label: str = ""
    split: str = ""
    by: str = ""  # who labelled it


def target(root: Path, source: Path) -> Path:
    """Returns a path below the project for what is made of a source, without suffix: the same for the same source."""
    digest = hashlib.blake2b(str(source).encode(errors="surrogateescape"), digest_size=4).hexdigest()
    (root / UNPACKED).mkdir(exist_ok=True)
    return root / UNPACKED / f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', source.stem) or 'source'}-{digest}"


def write_rows(root: Path, source: Path, rows: Iterable[SourceRow]) -> Path:
    """Writes a table of the images, labels, splits and annotators of a source, and returns its path."""
    path = target(root, source).with_suffix(".csv")
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([HEADER, *(map(escape_cell, astuple(row)) for row in rows)])
    return path


def locate(names: Sequence[str], folders: Sequence[Path]) -> str:
    """Returns the file that another program's names for an image mean.

    Such a name begins with folders of that program's machine or server. So the longest end of a name counts that is a
    file in one of the folders.

    Args:
        names: of one image, the most likely first.
        folders: absolute; where the image may be.
    """
    for name in names:
        parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part != "/"]
        for start in range(len(parts)):
            for path in (folder.joinpath(*parts[start:]) for folder in folders):
                if path.is_file():
                    return str(path)
        if Path(name).is_absolute() and Path(name).is_file():
            return name
    return str(folders[0] / names[0].lstrip("/"))
