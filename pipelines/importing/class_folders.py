"""Class names that folders of images suggest, for a person to confirm."""

import re
from collections.abc import Iterable
from pathlib import Path

from gradebook.pipelines.importing.labels import CONTAINERS
from gradebook.pipelines.importing.tables import clean, parse_split

MAX_CLASSES = 50  # more folders are rather albums
NOT_A_CLASS = re.compile(r"\d{4}([-_. ]?\d{2}){0,2}|\d{3}[a-z_]{5}|dcim|camera", re.IGNORECASE)  # dates, cameras


def propose_classes(filepaths: Iterable[str]) -> list[str]:
    """Returns the names of the folders that images are in, sorted, if these look like classes, and else nothing.

    They do if at least two folders beside each other hold images, and none is named like a date, a split or a camera's
    folder.
    """
    folders = {_class_folder(Path(filepath).parent) for filepath in filepaths}
    folders = {folder for folder in folders if parse_split(folder.name) is None}
    names = sorted({clean(folder.name) for folder in folders})
    beside = {folder.parent if parse_split(folder.parent.name) is None else folder.parent.parent for folder in folders}
    if len(beside) != 1 or not 2 <= len(names) <= MAX_CLASSES or any(map(NOT_A_CLASS.fullmatch, names)):
        return []
    return names


def _class_folder(folder: Path) -> Path:
    return folder.parent if folder.name.lower() in CONTAINERS else folder
