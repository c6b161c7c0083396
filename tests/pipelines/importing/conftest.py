"""A project to import into, in memory and on disk."""

from pathlib import Path

import pytest

from gradebook.storage.project import create_project
from gradebook.storage.store import Store, memory_store, open_store


@pytest.fixture(params=["memory", "lance"])
def store(request, tmp_path) -> Store:
    project = create_project(tmp_path / "project", [])
    return memory_store(project) if request.param == "memory" else open_store(project.root)


@pytest.fixture
def quick(tmp_path) -> Store:
    """For what does not depend on the backend."""
    return memory_store(create_project(tmp_path / "project", []))


@pytest.fixture
def images(tmp_path) -> Path:
    return tmp_path / "images"
