"""A check reads a `Subject`, the project under verification, and yields a `Finding` for each problem."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.runs import Run, list_runs
from gradebook.storage.project import ProjectError

if TYPE_CHECKING:
    from gradebook.storage.events import Event
    from gradebook.storage.samples import File
    from gradebook.storage.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One problem of a project."""

    problem: str  # a sentence without its full stop
    where: tuple[str, ...] = ()  # paths or ids
    advice: str  # a sentence that says what to do
    repair: Callable[[], None] | None = None  # where that is safe: it changes nothing but derived data
    is_warning: bool = False  # nothing is lost or corrupt, but results are worth less than they seem
    check: str = ""  # the name of the check; `gradebook.pipelines.maintenance.verify` fills it in

    def as_json(self) -> dict[str, Any]:
        """Returns it as plain data, under the keys of the command's `--json`."""
        return {
            "what": self.problem,
            "where": list(self.where),
            "mend": self.advice,
            "mending": None,
            "check": self.check,
            "can_mend": self.repair is not None,
            "warning": self.is_warning,
        }


@dataclass(frozen=True)
class Subject:
    """The project under verification. Each part is read once, when a check first needs it."""

    store: "Store"
    content: bool = False  # whether to read the content of every file, vector and segment too

    @cached_property
    def events(self) -> "list[Event]":
        """The log, in the order in which it was written."""
        return self.store.log.read()

    @cached_property
    def files(self) -> "list[File]":
        """The files of the catalogue."""
        return self.store.catalog.files()

    @cached_property
    def ids(self) -> list[str]:
        """The sample ids of the catalogue; an id that is listed twice is here twice."""
        return self.store.catalog.ids()

    @cached_property
    def known_ids(self) -> set[str]:
        """The same ids as a set."""
        return set(self.ids)

    @cached_property
    def every_run(self) -> list[Run]:
        """The runs, oldest first."""
        return list_runs(self.store.project)

    @cached_property
    def runs(self) -> list[Run]:
        """The runs that have started and whose settings can be read."""
        return [run for run in self.every_run if has_settings(run)]


def has_settings(run: Run) -> bool:
    """Returns whether a run's settings exist and can be read."""
    try:
        return bool(run.config())
    except ProjectError:
        return False


def uses_project_data(run: Run) -> bool:
    """Returns whether a run trained on the project's own images, not on a data set beside it."""
    data = run.config().get("data")
    return not isinstance(data, dict) or data.get("kind", "project") == "project"
