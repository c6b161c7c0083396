"""The small project that most tests begin with: one for all of them, of which each gets a copy."""

from collections import namedtuple

import pytest

from gradebook.storage import cache_files
from gradebook.storage.store import Store
from tests.pipelines.projects import copy_of, make_project


@pytest.fixture(scope="session")
def template(tmp_path_factory) -> Store:
    """Only to be copied; a module that needs another project has a fixture of this name."""
    return make_project(tmp_path_factory.mktemp("template"))


@pytest.fixture
def store(template, tmp_path) -> Store:
    return copy_of(template, tmp_path / "project")


@pytest.fixture
def full_disk(monkeypatch) -> None:
    """Leaves a byte less on the disk than what is derived from images must leave."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(cache_files.shutil, "disk_usage", lambda _: usage(0, 0, cache_files.MIN_FREE_BYTES - 1))
