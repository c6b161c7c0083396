"""All of storage in one bundle, and the only place that names a backend."""

from dataclasses import dataclass
from pathlib import Path

from storage.catalog import Catalog, LanceCatalog, MemoryCatalog
from storage.log import EventLog, LanceLog, MemoryLog
from storage.project import Project, read_project
from storage.record import LanceRecord, MemoryRecord, Record
from storage.vectors import LanceVectors, MemoryVectors, Vectors


@dataclass(frozen=True, slots=True)
class Store:
    """An open project."""

    project: Project
    catalog: Catalog
    log: EventLog
    vectors: Vectors
    record: Record


def open_store(root: Path) -> Store:
    """Opens the project in `root`; its tables are LanceDB's, in the directory `lance` below it.

    Raises:
        ProjectError: `root` is not a project.
    """
    project = read_project(root)
    tables = project.root / "lance"
    return Store(project, LanceCatalog(tables), LanceLog(tables), LanceVectors(tables), LanceRecord(tables))


def memory_store(project: Project) -> Store:
    """Returns a store with nothing in it that forgets everything with its object: for tests."""
    return Store(project, MemoryCatalog(), MemoryLog(), MemoryVectors(), MemoryRecord())
