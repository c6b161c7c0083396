import json

import pytest

from gradebook.storage.catalog import LanceCatalog
from gradebook.storage.events import Kind, event
from gradebook.storage.project import ProjectError, create_project
from gradebook.storage.store import memory_store, open_store


def test_opening_no_project_says_how_to_create_one_and_writes_nothing(tmp_path):
    with pytest.raises(ProjectError, match="gradebook init"):
        open_store(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


def test_opening_a_project_only_reads(tmp_path):
    project = create_project(tmp_path / "p", ["a"])
    store = open_store(tmp_path / "p")
    assert store.project == project
    assert store.catalog.samples() == store.catalog.files() == store.log.read() == store.vectors.spaces() == []
    assert isinstance(store.catalog, LanceCatalog)
    assert [path.name for path in (tmp_path / "p").iterdir()] == ["gradebook.json"]
    assert json.loads((tmp_path / "p" / "gradebook.json").read_text())["classes"] == ["a"]


def test_two_stores_of_one_project_see_each_other_but_two_in_memory_do_not(tmp_path):
    project = create_project(tmp_path / "p", ["a"])
    one, other = open_store(project.root), open_store(project.root)
    imported = event(Kind.IMPORTED, "s0", "a", actor="import")
    one.log.append([imported])
    assert other.log.read() == [imported]
    one, other = memory_store(project), memory_store(project)
    one.log.append([imported])
    assert other.log.read() == []
