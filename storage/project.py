"""A project: a directory whose `gradebook.json` lists the classes.

After the first change of classes, the log is the source of truth for them (`gradebook.storage.class_history`). The file
is then a copy, so that a project opens without its tables.
"""

import csv
import io
import json
import os
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gradebook.storage import trust
from gradebook.storage.characters import has_control
from gradebook.storage.class_changes import ProjectClass, styled
from gradebook.storage.class_history import ClassHistory, history_from_rows, rows_of
from gradebook.storage.files import write_json
from gradebook.storage.project_location import images_around

SETTINGS = "gradebook.json"
LOCK = ".gradebook.lock"
VERSION = 1
MAX_ANSWERS = 20
STORE = re.compile(r"(s3|s3a|s3\+ddb|gs|az|abfss?)://[^/].*")  # addresses of object stores, not of this disk


class ProjectError(ValueError):
    """A user's request cannot be carried out on a project; the message says what is wrong and what to do."""


class CorruptSettings(ProjectError):  # noqa: N818
    """A project's settings cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """The settings of one project directory."""

    root: Path  # absolute
    classes: tuple[str, ...]  # in the order the user gave; models use this order
    store: str = ""  # address of the tables on an object store, such as s3://bucket/prefix; empty: in `root`
    history: ClassHistory = field(default_factory=ClassHistory)  # how the classes changed; empty if they never did
    answers: int = 1  # reviewers that are asked about each image, each without sight of the others' answers
    # Ranges of levels of more than 8 bits, see `gradebook.storage.images`; None: by the file alone, as in old projects.
    levels: Mapping[str, tuple[float, float]] | None = None

    @property
    def runs(self) -> Path:
        """The directory that has a directory for each run."""
        return self.root / "runs"

    @property
    def styled_classes(self) -> tuple[ProjectClass, ...]:
        """The classes with their colors and keys, in the order of `classes`."""
        return self.history.classes or styled(self.classes)

    def check_label(self, label: str) -> str:
        """Returns `label`.

        Raises:
            ProjectError: `label` is not one of the project's classes; the message says so if it was one.
        """
        if label in self.classes:
            return label
        if self.history.former(label) is not None:
            names = ", ".join(self.classes) or "none"
            raise ProjectError(f"the label {self.describe_unknown(label)}: give one of the present classes ({names})")
        raise ProjectError(
            f"label {label!r} is not a class of this project ({', '.join(self.classes) or 'it has none'}): "
            f"correct it, or add it with: {self.add_command([label])}"
        )

    def describe_unknown(self, label: str) -> str:
        """Returns a label that is no class, with what became of the class of that name if there was one."""
        former = self.history.former(label)
        if former is None:
            return label
        return f"{label} ({former.reason})" if former.name is None else f"{label} (it is {former.name} now)"

    def add_command(self, labels: Iterable[str]) -> str:
        """Returns the shell command that adds labels to the classes of the project."""
        return shlex.join(["gradebook", "classes", str(self.root), "--add", join_names(labels)])


def split_names(text: str) -> list[str]:
    """Returns the names in a list such as `a,b` or `"a, b",c`: quotes hold a name with a comma together."""
    return next(csv.reader([text], skipinitialspace=True), [])


def join_names(names: Iterable[str]) -> str:
    """Returns names as a list that `split_names` reads."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(names)
    return line.getvalue()


def create_project(root: Path, classes: Sequence[str], *, store: str = "") -> Project:
    """Creates a project directory with these classes (possibly none yet), its tables at the address `store` if given.

    Raises:
        ProjectError: there is a project already, the directory has images, a class name is empty, given twice or has
            control characters, or the address is not one of an object store.
    """
    root = _checked_path(root)
    if problem := _store_problem(store):
        raise ProjectError(f"{problem}: give one such as s3://bucket/prefix")
    if (root / SETTINGS).exists():
        raise ProjectError(f"{root} is a project already: use it, or choose another directory")
    project = Project(root=root, classes=check_names(classes), store=store.rstrip("/"), levels={})
    if (directory := images_around(root)) is not None:
        beside = directory.with_name(f"{directory.name}-project")
        raise ProjectError(
            f"{directory} has images, and a project must not be among them: create it elsewhere, such as {beside}"
        )
    root.mkdir(parents=True, exist_ok=True)
    _write(project)
    return project


def read_project(root: Path) -> Project:
    """Reads a project's settings.

    Raises:
        CorruptSettings: its settings cannot be read.
        ProjectError: `root` is not a project of this version, or must not be opened (see `gradebook.storage.trust`).
    """
    root = _checked_path(root)
    if not os.path.lexists(root / SETTINGS):
        raise ProjectError(_not_a_project(root))
    if problem := trust.find_problem(root):
        raise ProjectError(problem)
    try:
        settings = _parsed((root / SETTINGS).read_text(encoding="utf-8"))
    except FileNotFoundError:  # removed meanwhile
        raise ProjectError(_not_a_project(root)) from None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CorruptSettings(f"{root / SETTINGS} cannot be read ({error}): restore it from a backup") from error
    if settings.get("version") != VERSION:
        raise ProjectError(f"{root} has version {settings.get('version')}, this program reads version {VERSION}")
    if problem := _store_problem(settings["store"]):
        raise CorruptSettings(
            f"{root / SETTINGS} cannot be used ({problem}): correct it, to one such as s3://bucket/prefix"
        )
    return Project(
        root=root,
        classes=tuple(settings["classes"]),
        store=settings["store"],
        history=settings["class_changes"],
        answers=settings["answers"],
        levels=settings["levels"],
    )


def trust_project(root: Path) -> Project:
    """Trusts the owner of a project, so that this user can open it from now on.

    Raises:
        ProjectError: as `read_project`, but for the owner.
    """
    root = _checked_path(root)
    if not os.path.lexists(root / SETTINGS):
        raise ProjectError(_not_a_project(root))
    trust.trust(root)
    return read_project(root)


def name_classes(project: Project, names: Sequence[str]) -> Project:
    """Gives a project without classes its first ones; returns the project as it is now.

    Raises:
        ProjectError: a class name is empty, given twice, or has control characters.
    """

    def named(now: Project) -> Project:
        return now if now.classes or now.history else replace(now, classes=check_names(names))

    return _update(project, named)


def write_classes(project: Project, history: ClassHistory) -> Project:
    """Writes the classes that the log has to the project's file; returns the project with them."""
    names = tuple(c.name for c in history.classes)
    return _update(project, lambda now: replace(now, classes=names, history=history))


def set_answers(project: Project, number: int) -> Project:
    """Sets how many reviewers are asked about each image; returns the project with it.

    Raises:
        ProjectError: `number` is not between 1 and `MAX_ANSWERS`.
    """
    if not 1 <= number <= MAX_ANSWERS:
        raise ProjectError(f"{number} answers for each image are not possible: give 1 to {MAX_ANSWERS}")
    return _update(project, lambda now: replace(now, answers=number))


def write_levels(project: Project, levels: Mapping[str, tuple[float, float]]) -> Project:
    """Records the ranges of kinds of levels that the project has none of yet; returns the project as it is now."""
    return _update(project, lambda now: replace(now, levels={**levels, **(now.levels or {})}))


def _update(project: Project, change: Callable[[Project], Project]) -> Project:
    """Changes the settings as they are now; returns the project with them."""
    from filelock import FileLock  # here, because predicting needs this module but not that package

    with FileLock(project.root / LOCK):
        now = read_project(project.root)
        changed = change(now)
        if changed != now:
            _write(changed)
    return changed


def _checked_path(root: Path) -> Path:
    """Returns the absolute path of a project's directory.

    Raises:
        ProjectError: it cannot be printed, and LanceDB cannot open tables there.
    """
    root = root.expanduser().resolve()
    if has_control(str(root)):
        raise ProjectError(
            f"the path {str(root)!r} has a line break or another control character: choose another directory"
        )
    return root


def check_names(classes: Sequence[str]) -> tuple[str, ...]:
    """Returns class names without blanks around them.

    Raises:
        ProjectError: a name is empty, given twice, or has control characters.
    """
    names = tuple(name.strip() for name in classes)
    if not all(names):
        raise ProjectError("a class name is empty: give the classes as a,b,c")
    if len(set(names)) < len(names):
        raise ProjectError(f"a class is given twice in {', '.join(names)}: give each once")
    for name in names:
        if has_control(name):
            raise ProjectError(
                f"the class name {name!r} has a line break or another character that cannot be shown: leave it out"
            )
    return names


def _not_a_project(root: Path) -> str:
    command = shlex.join(["gradebook", "init", str(root), "--classes", "a,b,c"])
    return f"{root} is not a project: make one with: {command}"


def _parsed(text: str) -> dict[str, Any]:
    """Returns the settings in a text.

    Raises:
        ValueError: it is not JSON, or of another shape.
    """
    settings = json.loads(text)
    if not isinstance(settings, dict):
        raise ValueError("it is not a JSON object")
    classes, store = settings.get("classes"), settings.get("store", "")
    if settings.get("version") != VERSION:
        return settings
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in [*classes, store]) or "" in classes:
        raise ValueError("it needs a list of names under classes, and an address under store if there is one")
    answers = settings.get("answers", 1)
    if type(answers) is not int or not 1 <= answers <= MAX_ANSWERS:
        raise ValueError(f"answers must be a number from 1 to {MAX_ANSWERS}")
    history = history_from_rows(settings.get("class_changes", ()))
    levels = settings.get("levels")
    if levels is not None:
        levels = {str(kind): (float(black), float(white)) for kind, (black, white) in levels.items()}
        if not all(black < white for black, white in levels.values()):
            raise ValueError("it needs two rising numbers for each kind of levels")
    return settings | {"store": store, "class_changes": history, "answers": answers, "levels": levels}


def _store_problem(store: str) -> str | None:
    """Returns why an address is not one of an object store; a path would let a project write anywhere on this disk."""
    if not store or STORE.fullmatch(store):
        return None
    return f"the store {store!r} is not the address of an object store"


def _write(project: Project) -> None:
    """Writes the settings atomically."""
    settings: dict[str, Any] = {"version": VERSION, "classes": project.classes}
    if project.store:
        settings["store"] = project.store
    if project.levels is not None:
        settings["levels"] = project.levels
    if project.history:
        settings["class_changes"] = rows_of(project.history)
    if project.answers > 1:
        settings["answers"] = project.answers
    write_json(project.root / SETTINGS, settings, indent=2)
