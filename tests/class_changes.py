"""Changes of classes, for tests."""

from collections.abc import Sequence

from gradebook.pipelines.curation.class_changes import ClassReport, Plan, add, change_classes
from gradebook.storage.project import Project, read_project
from gradebook.storage.store import Store, open_store


def add_classes(project: Project, names: Sequence[str]) -> Project:
    change_classes(open_store(project.root), add(names), actor="ada")
    return read_project(project.root)


def change(store: Store, plan: Plan) -> tuple[Store, ClassReport]:
    """Changes classes; returns the store with them."""
    report = change_classes(store, plan, actor="ada")
    return reopened(store), report


def reopened(store: Store) -> Store:
    return Store(read_project(store.project.root), store.catalog, store.log, store.vectors, store.record)
