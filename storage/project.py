"""A project: a directory whose `gradebook.json` lists the classes."""

import csv
import io
import json
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from gradebook.storage.files import write_json

SETTINGS = "gradebook.json"
LOCK = ".gradebook.lock"
VERSION = 1
CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f]")


class ProjectError(ValueError):
    """A user's request cannot be carried out on a project; the message says what is wrong and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """The settings of one project directory."""

    root: Path  # absolute
    classes: tuple[str, ...]  # in the order the user gave; models use this order
    store: str = ""  # address of the tables on an object store, such as s3://bucket/prefix; empty: in `root`

    @property
    def runs(self) -> Path:
        """The directory that has a directory for each run."""
        return self.root / "runs"

    def check_label(self, label: str) -> str:
        """Returns `label`.

        Raises:
            ProjectError: `label` is not one of the project's classes.
        """
        if label not in self.classes:
            raise ProjectError(
                f"label {label!r} is not a class of this project ({', '.join(self.classes) or 'it has none'}): "
                f"correct it, or add it with: {self.add_command([label])}"
            )
        return label

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
        ProjectError: the directory is already a project, its path is unusable, or a class name is empty or repeated.
    """
    root = _checked_path(root)
    if (root / SETTINGS).exists():
        raise ProjectError(f"{root} is a project already: use it, or choose another directory")
    project = Project(root=root, classes=_checked(classes), store=store.rstrip("/"))
    root.mkdir(parents=True, exist_ok=True)
    _write(project)
    return project


def read_project(root: Path) -> Project:
    """Reads a project's settings.

    Raises:
        ProjectError: `root` is not a project of this version.
    """
    root = _checked_path(root)
    try:
        settings = json.loads((root / SETTINGS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ProjectError(f"{root} is not a project: make one with: gradebook init {root} --classes a,b,c") from None
    except (OSError, ValueError) as error:
        raise ProjectError(f"{root / SETTINGS} cannot be read ({error}): restore it from a backup") from error
    if isinstance(settings, dict) and settings.get("version") != VERSION:
        raise ProjectError(f"{root} has version {settings.get('version')}, this program reads version {VERSION}")
    if not _is_valid(settings):
        raise ProjectError(
            f"{root / SETTINGS} cannot be read (it needs a list of names under classes): restore it from a backup"
        )
    return Project(root=root, classes=tuple(settings["classes"]), store=settings.get("store", ""))


def add_classes(project: Project, names: Sequence[str]) -> Project:
    """Adds classes at the end of the list; existing ones keep their place.

    The list is read under a lock, so concurrent additions do not overwrite each other.

    Raises:
        ProjectError: a class name is empty.
    """
    stripped = dict.fromkeys(name.strip() for name in names)
    with FileLock(project.root / LOCK):
        classes = read_project(project.root).classes
        new = [name for name in stripped if name not in classes]
        extended = replace(project, classes=_checked([*classes, *new]))
        _write(extended)
    return extended


def _checked_path(root: Path) -> Path:
    """Returns the absolute path of a project's directory.

    Raises:
        ProjectError: LanceDB cannot open tables there.
    """
    root = root.expanduser().resolve()
    if CONTROL_CHARACTER.search(str(root)):
        raise ProjectError(
            f"the path {str(root)!r} has a line break or another control character: choose another directory"
        )
    return root


def _is_valid(settings: Any) -> bool:
    """Returns whether settings have the shape that `_write` gives them."""
    if not isinstance(settings, dict) or not isinstance(settings.get("store", ""), str):
        return False
    classes = settings.get("classes")
    return isinstance(classes, list) and all(isinstance(name, str) and name for name in classes)


def _checked(classes: Sequence[str]) -> tuple[str, ...]:
    names = tuple(name.strip() for name in classes)
    if not all(names):
        raise ProjectError("a class name is empty: give the classes as a,b,c")
    if len(set(names)) < len(names):
        raise ProjectError(f"a class is given twice in {', '.join(names)}: give each once")
    return names


def _write(project: Project) -> None:
    """Writes the settings atomically."""
    settings = {"version": VERSION, **asdict(project)}
    del settings["root"]
    if not project.store:
        del settings["store"]
    write_json(project.root / SETTINGS, settings, indent=2)
