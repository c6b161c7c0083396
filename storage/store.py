"""All of storage in one bundle, and the only place that names a backend."""

from dataclasses import dataclass
from pathlib import Path

from gradebook.storage.catalog import Catalog, LanceCatalog, MemoryCatalog
from gradebook.storage.lance_record import LanceRecord
from gradebook.storage.lance_tables import Tables
from gradebook.storage.lance_vectors import LanceVectors
from gradebook.storage.log import EventLog, LanceLog, MemoryLog
from gradebook.storage.project import Project, read_project
from gradebook.storage.record import MemoryRecord, Record
from gradebook.storage.vectors import MemoryVectors, Vectors

LANCE = "lance"  # the directory of the tables, or of their lock where they are at an address


@dataclass(frozen=True, slots=True)
class Store:
    """An open project."""

    project: Project
    catalog: Catalog
    log: EventLog
    vectors: Vectors
    record: Record


def open_store(root: Path) -> Store:
    """Opens the project in `root`; its tables are LanceDB's, in the directory `lance` below it or where it says.

    Raises:
        ProjectError: `root` is not a project.
    """
    project = read_project(root)
    at = (project.root / LANCE, project.store)
    return Store(project, LanceCatalog(*at), LanceLog(*at), LanceVectors(*at), LanceRecord(*at))


def tables_of(project: Project) -> Tables:
    """Returns the tables of a project, whatever is in them."""
    return Tables(project.root / LANCE, project.store)


def memory_store(project: Project) -> Store:
    """Returns a store with nothing in it that forgets everything with its object: for tests."""
    return Store(project, MemoryCatalog(), MemoryLog(), MemoryVectors(), MemoryRecord())
