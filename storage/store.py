"""A project's stores together, and the only module that chooses their backends."""

from dataclasses import dataclass, field
from pathlib import Path

from gradebook.storage.catalog import Catalog, LanceCatalog, MemoryCatalog
from gradebook.storage.lance_record import LanceRecord
from gradebook.storage.lance_tables import Tables
from gradebook.storage.lance_vectors import LanceVectors
from gradebook.storage.log import EventLog, LanceLog, MemoryLog
from gradebook.storage.project import Project, read_project
from gradebook.storage.quality import LanceQuality, MemoryQuality, Quality
from gradebook.storage.record import MemoryRecord, Record
from gradebook.storage.vectors import MemoryVectors, Vectors

LANCE = "lance"  # directory of the tables, or only of their lock if they are at an address


@dataclass(frozen=True, slots=True)
class Store:
    """An open project."""

    project: Project
    catalog: Catalog
    log: EventLog
    vectors: Vectors
    record: Record
    quality: Quality = field(default_factory=MemoryQuality)


def open_store(root: Path) -> Store:
    """Opens the project in `root`, with LanceDB tables in its directory `lance` or at the address in its settings.

    Raises:
        ProjectError: `root` is not a project.
    """
    project = read_project(root)
    at = (project.root / LANCE, project.store)
    return Store(project, LanceCatalog(*at), LanceLog(*at), LanceVectors(*at), LanceRecord(*at), LanceQuality(*at))


def tables_of(project: Project) -> Tables:
    """Returns all LanceDB tables of a project."""
    return Tables(project.root / LANCE, project.store)


def memory_store(project: Project) -> Store:
    """Returns an empty store in memory, for tests."""
    return Store(project, MemoryCatalog(), MemoryLog(), MemoryVectors(), MemoryRecord())
