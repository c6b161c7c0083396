"""What a check looks at, and what it finds."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from gradebook.pipelines.runs import Run, list_runs
from gradebook.storage.project import ProjectError

if TYPE_CHECKING:
    from gradebook.storage.events import Event
    from gradebook.storage.samples import File
    from gradebook.storage.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it must be."""

    what: str  # a sentence without its full stop
    where: tuple[str, ...] = ()  # paths or ids
    mend: str  # a sentence that says what to do
    mending: Callable[[], None] | None = None  # does it, where that is safe: nothing but what can be derived is changed
    check: str = ""  # the name of the check; `gradebook.pipelines.maintenance.verify` fills it in


@dataclass(frozen=True)
class Subject:
    """A project to look at; each part is read once, when a check asks for it."""

    store: "Store"
    content: bool = False  # whether to read the content of every file, vector and segment too

    @cached_property
    def events(self) -> "list[Event]":
        """The log."""
        return self.store.log.read()

    @cached_property
    def files(self) -> "list[File]":
        """The catalogue's files."""
        return self.store.catalog.files()

    @cached_property
    def ids(self) -> list[str]:
        """The ids of the catalogue's samples."""
        return self.store.catalog.ids()

    @cached_property
    def known(self) -> set[str]:
        """The same, to look in."""
        return set(self.ids)

    @cached_property
    def every_run(self) -> list[Run]:
        """The runs, oldest first."""
        return list_runs(self.store.project)

    @cached_property
    def runs(self) -> list[Run]:
        """Those of them whose settings can be read, and which have begun."""
        return [run for run in self.every_run if has_settings(run)]


def has_settings(run: Run) -> bool:
    """Returns whether a run's settings are there and readable."""
    try:
        return bool(run.config())
    except ProjectError:
        return False
