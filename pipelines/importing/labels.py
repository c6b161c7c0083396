"""Reads labels and splits that come with images: from the names of their directories, or from a table."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from gradebook.pipelines.importing.file_names import DiskNames, KnownFiles
from gradebook.pipelines.importing.tables import BY_NAME, TABLES, ColumnNames, clean, parse_split, read_table
from gradebook.storage.project import Project, ProjectError, name_classes
from gradebook.storage.samples import Split

CONTAINERS = frozenset({"images", "image", "imgs", "img"})  # directories of a class that only hold its images


@dataclass(slots=True)
class Labels:
    """The labels and splits of image files, by path."""

    of: dict[str, list[str]] = field(
        default_factory=dict
    )  # file -> its label; several if the source contradicts itself
    problems: list[tuple[str, str]] = field(default_factory=list)  # where in the source, and one sentence
    splits: dict[str, Split] = field(default_factory=dict)  # file -> the split that the source puts it in
    by: dict[str, str] = field(default_factory=dict)  # file -> who labelled it, where the source says so

    def add(self, filepath: str, label: str) -> None:
        """Adds a label of a file."""
        labels = self.of.setdefault(filepath, [])
        if label not in labels:
            labels.append(label)

    def classes(self) -> list[str]:
        """Returns the labels that occur, sorted."""
        return sorted({label for labels in self.of.values() for label in labels})


def read_labels(source: str, root: Path, filepaths: Sequence[str], columns: ColumnNames = BY_NAME) -> Labels:
    """Returns the labels of these files below `root`.

    Args:
        source: "none"; "folders": the label is the name of the directory that an image is in; or a CSV or Parquet
            file. The split comes from its column split, else from directories such as train and test in `root`.
        root: absolute, the directory that was imported.
        filepaths: absolute.
        columns: the columns of the table that a person named.

    Raises:
        ProjectError: the source is neither, or is not a table with columns of images and labels.
    """
    splits = _split_column(root, columns) if root.is_file() else _split_folders(root, filepaths)
    if source == "none":
        return Labels(splits=splits)
    if source == "folders":
        return _from_folders(root, filepaths, splits)
    labels = _from_table(Path(source), root, filepaths, columns)
    return replace(labels, splits=splits | labels.splits)


def checked_classes(project: Project, labels: Labels) -> Project:
    """Returns the project with its classes: where it had none, those that the labels name are added.

    Raises:
        ProjectError: the project has classes, and some labels are none of them.
    """
    names = labels.classes()
    if not project.classes and names:
        project = name_classes(project, names)
    unknown = [name for name in names if name not in project.classes]
    if unknown:
        raise ProjectError(
            f"these labels are not classes of the project: {', '.join(map(project.describe_unknown, unknown))}. "
            f"Nothing was imported: correct them, or add them with: {project.add_command(unknown)}"
        )
    return project


def _split_column(table: Path, columns: ColumnNames) -> dict[str, Split]:
    """Returns the splits that a table of images names."""
    if table.suffix.lower() not in TABLES:
        return {}
    names, rows = DiskNames(), read_table(table, labels=False, columns=columns)
    named = ((names.find(row.filepath, table.parent), row.split) for row in rows)
    return {path: split for path, name in named if (split := parse_split(name)) is not None}


def _split_folders(root: Path, filepaths: Sequence[str]) -> dict[str, Split]:
    """Returns the split of each file where all directories in `root` that hold images are splits, and else nothing.

    A single directory is a split only if there are directories in it: else it may be a class that is called train.
    """
    tops: dict[str, list[str]] = {}
    nested = True
    for filepath in filepaths:
        parts = Path(filepath).parts[len(root.parts) :]
        if len(parts) < 2:
            return {}
        tops.setdefault(parts[0], []).append(filepath)
        nested &= len(parts) > 2
    splits = {top: parse_split(top) for top in tops}
    if len(set(splits.values())) < 2 and not nested:
        return {}
    if None in splits.values():
        return {}
    return {path: split for top, paths in tops.items() for path in paths if (split := splits[top]) is not None}


def _from_folders(root: Path, filepaths: Sequence[str], splits: dict[str, Split]) -> Labels:
    labels = Labels(splits=splits)
    for filepath in filepaths:
        top = root / Path(filepath).parts[len(root.parts)] if filepath in splits and root.is_dir() else root
        folder = Path(filepath).parent
        if folder.name.lower() in CONTAINERS and folder != top and folder.parent != root:
            folder = folder.parent
        if folder in (root, top) or Path(filepath) == root:
            labels.problems.append((filepath, "it lies in no directory below the imported one, so it has no label"))
        elif label := clean(folder.name):
            labels.add(filepath, label)
        else:
            labels.problems.append((filepath, "the name of its directory is blank, so it has no label"))
    return labels


def _from_table(path: Path, root: Path, filepaths: Sequence[str], columns: ColumnNames) -> Labels:
    path = path.expanduser().absolute()
    if not path.is_file():
        raise ProjectError(f"there is no file {path}: labels are none, folders, or a CSV file")
    labels = Labels()
    known = KnownFiles(filepaths)
    for row in read_table(path, labels=True, columns=columns):
        where = f"{path.name} line {row.line}"
        filepath = known.find(row.filepath, (path.parent, path.parent.resolve(), root))
        if not row.filepath:
            labels.problems.append((where, "the filepath is empty"))
        elif filepath is None:
            labels.problems.append((where, f"{row.filepath} is not among the imported images"))
        elif not row.label:
            labels.problems.append((where, f"the label of {row.filepath} is empty"))
        else:
            labels.add(filepath, row.label)
            if row.by:
                labels.by[filepath] = row.by
        split = parse_split(row.split)
        if filepath is not None and split is not None:
            labels.splits[filepath] = split
        elif filepath is not None and row.split.strip():
            labels.problems.append((where, f"{row.split} is no split: train, val or test"))
    return labels
