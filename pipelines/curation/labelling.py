"""Labels that a person gives outside the app: one sample's, or a CSV file's."""

import getpass
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.importing.labels import read_labels
from gradebook.storage.events import VERDICTS, Event, Kind, decisions, event
from gradebook.storage.project import ProjectError

if TYPE_CHECKING:
    from gradebook.storage.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelReport:
    """What labelling did."""

    labelled: int  # verdicts written
    unchanged: int  # samples that a person had given this label before
    problems: list[tuple[str, str]]  # where in the file, and why it was left out

    def as_json(self) -> dict[str, Any]:
        """Returns it as plain data."""
        return asdict(self)


def label_sample(store: "Store", sample_id: str, label: str) -> LabelReport:
    """Gives one sample a label.

    Raises:
        ProjectError: there is no such sample or class.
    """
    return label_samples(store, {sample_id: label}, who=actor())


def label_samples(store: "Store", labels: Mapping[str, str], *, who: str) -> LabelReport:
    """Gives samples their labels, as the verdicts of `who`; all of them or, on an error, none.

    Raises:
        ProjectError: there is no such sample or class.
    """
    store.catalog.get(list(labels))
    return _write(store, {i: store.project.check_label(label) for i, label in labels.items()}, [], who)


def label_file(store: "Store", path: Path) -> LabelReport:
    """Gives the samples named in a CSV file (filepath,label) their labels; all of them or, on an error, none.

    Paths are absolute, or relative to the file's directory.

    Raises:
        ProjectError: the file cannot be read, or names an unknown class.
    """
    files = {file.filepath: file.sample_id for file in store.catalog.files()}
    said = read_labels(str(path), path.expanduser().absolute().parent, list(files))
    for name in said.classes():
        store.project.check_label(name)
    given: dict[str, dict[str, str]] = {}  # sample -> label -> a file that is given it: copies are one sample
    for filepath, names in said.of.items():
        given.setdefault(files[filepath], {}).update(dict.fromkeys(names, filepath))
    wanted = {sample_id: next(iter(labels)) for sample_id, labels in given.items() if len(labels) == 1}
    torn = [labels for labels in given.values() if len(labels) > 1]
    problems = [*said.problems, *((next(iter(s.values())), f"it is given {' and '.join(s)}") for s in torn)]
    if not wanted and problems:
        raise ProjectError(f"no row of {path} can be used; the first one: {problems[0][0]}: {problems[0][1]}")
    return _write(store, wanted, problems, actor())


def actor() -> str:
    """Returns who is at the keyboard, for the log."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without accounts
        return "somebody"


def _write(store: "Store", wanted: dict[str, str], problems: list[tuple[str, str]], who: str) -> LabelReport:
    decided = decisions(store.log.read())
    new = {i: name for i, name in wanted.items() if not _says(decided.get(i), name)}
    store.log.append([event(Kind.RELABELLED, i, name, actor=who) for i, name in new.items()])
    return LabelReport(labelled=len(new), unchanged=len(wanted) - len(new), problems=problems)


def _says(decision: Event | None, label: str) -> bool:
    return decision is not None and decision.kind in VERDICTS and decision.label == label
