"""Gives samples the labels in a table."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gradebook.pipelines.curation.labelling import LabelReport, actor, give_labels, read_log
from gradebook.pipelines.importing.labels import read_labels
from gradebook.pipelines.importing.tables import BY_NAME, ColumnNames
from gradebook.storage.project import ProjectError
from gradebook.storage.sample_files import CHANGED, changed_files

if TYPE_CHECKING:
    from gradebook.storage.store import Store


def label_file(store: "Store", path: Path, columns: ColumnNames = BY_NAME, *, independent: bool = False) -> LabelReport:
    """Gives the samples named in a CSV file (filepath,label) their labels; all of them or, on an error, none.

    Args:
        store: the project.
        path: the table; paths in it are absolute, or relative to its directory.
        columns: the columns that a person named.
        independent: see `label_samples`.

    Raises:
        ProjectError: the file cannot be read, or names an unknown class.
    """
    seen, files = read_log(store), {file.filepath: file for file in store.catalog.files()}
    rows = read_labels(str(path), path.expanduser().absolute().parent, list(files), columns)
    for name in rows.classes():
        store.project.check_label(name)
    changed = {file.filepath for file in changed_files(files[filepath] for filepath in rows.of)}
    rows.problems += [(filepath, CHANGED) for filepath in sorted(changed)]
    given: dict[str, dict[str, str]] = {}  # sample -> label -> a file that is given it: copies are one sample
    for filepath, names in rows.of.items():
        if filepath not in changed:
            given.setdefault(files[filepath].sample_id, {}).update(dict.fromkeys(names, filepath))
    wanted = {sample_id: next(iter(labels)) for sample_id, labels in given.items() if len(labels) == 1}
    contradictory = [labels for labels in given.values() if len(labels) > 1]
    problems = [*rows.problems, *((next(iter(s.values())), f"it is labelled {' and '.join(s)}") for s in contradictory)]
    if not wanted and problems:
        raise ProjectError(f"no row of {path} can be used; the first one: {problems[0][0]}: {problems[0][1]}")
    report = give_labels(store, wanted, seen, actor(), independent=independent)
    return replace(report, problems=[*problems, *report.problems])
