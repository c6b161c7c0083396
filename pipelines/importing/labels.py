"""Labels that come with images: from the names of their directories, or from a CSV file."""

import csv
import os
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gradebook.storage.project import Project, ProjectError, add_classes

COLUMNS = ("filepath", "label")


@dataclass(slots=True)
class Labels:
    """What a source of labels says of the images that were found."""

    of: dict[str, list[str]] = field(
        default_factory=dict
    )  # file path -> its label; more than one if it contradicts itself
    problems: list[tuple[str, str]] = field(default_factory=list)  # a place in the source, and one sentence

    def add(self, filepath: str, label: str) -> None:
        """Notes a label of a file."""
        said = self.of.setdefault(filepath, [])
        if label not in said:
            said.append(label)

    def classes(self) -> list[str]:
        """Returns the labels that occur, sorted."""
        return sorted({label for said in self.of.values() for label in said})


def read_labels(source: str, root: Path, filepaths: Sequence[str]) -> Labels:
    """Returns the labels of these files below `root`.

    Args:
        source: "none"; "folders": the label is the name of the directory that an image is in; or a CSV file.
        root: absolute, the directory that was imported.
        filepaths: absolute.

    Raises:
        ProjectError: the source is neither, or is not a CSV file with the columns filepath and label.
    """
    if source == "none":
        return Labels()
    return _from_folders(root, filepaths) if source == "folders" else _from_csv(Path(source), root, filepaths)


def checked_classes(project: Project, labels: Labels) -> Project:
    """Returns the project with its classes: where it had none, those that the labels name are added.

    Raises:
        ProjectError: the project has classes, and some labels are none of them.
    """
    names = labels.classes()
    if not project.classes:
        return add_classes(project, names) if names else project
    unknown = [name for name in names if name not in project.classes]
    if unknown:
        raise ProjectError(
            f"these labels are not classes of the project: {', '.join(unknown)}. Nothing was imported: correct them, "
            f"or add them with: {project.add_command(unknown)}"
        )
    return project


def _from_folders(root: Path, filepaths: Sequence[str]) -> Labels:
    labels = Labels()
    for filepath in filepaths:
        folder = Path(filepath).parent
        if folder == root or Path(filepath) == root:
            labels.problems.append((filepath, "it lies in no directory below the imported one, so it has no label"))
        elif label := _clean(folder.name):
            labels.add(filepath, label)
        else:
            labels.problems.append((filepath, "the name of its directory is blank, so it has no label"))
    return labels


def _from_csv(path: Path, root: Path, filepaths: Sequence[str]) -> Labels:
    path = path.expanduser().absolute()
    if not path.is_file():
        raise ProjectError(f"there is no file {path}: labels are none, folders, or a CSV file")
    labels = Labels()
    found = set(filepaths)
    for line, name, label in _rows(path):
        place = f"{path.name} line {line}"
        filepath = _located(name, (path.parent, path.parent.resolve(), root), found)
        if not name:
            labels.problems.append((place, "the filepath is empty"))
        elif filepath is None:
            labels.problems.append((place, f"{name} is not among the imported images"))
        elif not label:
            labels.problems.append((place, f"the label of {name} is empty"))
        else:
            labels.add(filepath, label)
    return labels


def _rows(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yields line number, filepath and label of each row that is not empty."""
    wanted = ",".join(COLUMNS)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # -sig: spreadsheets put a mark before the header
            rows = csv.reader(file)
            header = [_clean(name) for name in next(rows, [])]
            if header.count(COLUMNS[0]) != 1 or header.count(COLUMNS[1]) != 1:
                raise ProjectError(
                    f"the first line of {path} is {','.join(header) or 'empty'}: it must name the columns {wanted}"
                )
            places = [header.index(name) for name in COLUMNS]
            for row in rows:
                if any(row):
                    name, label = (row[place] if place < len(row) else "" for place in places)
                    yield rows.line_num, name, _clean(label)
    except UnicodeDecodeError:
        raise ProjectError(f"{path} is not text in UTF-8: save it again as CSV UTF-8") from None
    except csv.Error as error:
        raise ProjectError(f"{path} is not a CSV file ({error}): its columns are {wanted}") from None


def _located(name: str, bases: Sequence[Path], found: Collection[str]) -> str | None:
    """Returns the file among those found that `name` means, relative to the first of `bases` that has it."""
    for spelling in dict.fromkeys([name, name.replace("\\", "/")]):
        for base in bases:
            path = os.path.normpath(base / spelling)
            if path in found:
                return path
    return None


def _clean(name: str) -> str:
    """Returns a label as people type it: without blanks around it, letters with accents as one character."""
    return unicodedata.normalize("NFC", name.strip())
