"""A project's statistics are computed once until a table changes, and never outdated."""

from pathlib import Path

import pytest

from gradebook.pipelines.reporting import project_stats
from gradebook.storage.events import Kind, event
from gradebook.storage.project import create_project
from gradebook.storage.samples import Sample, Split
from gradebook.storage.store import Store, open_store
from tests.class_changes import add_classes


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = open_store(create_project(tmp_path / "birds", ["crow", "heron"]).root)
    store.catalog.add([sample(0), sample(1), sample(2, Split.TEST)], [])
    return store


def sample(n: int, split: Split = Split.TRAIN) -> Sample:
    size = {"width": 8, "height": 8, "fingerprint": bytes(200)}
    return Sample(sample_id=f"{n:032x}", filepath=f"/nowhere/{n}.png", split=split, **size)


def written(store: Store, n: int, kind: Kind, label: str | None = None) -> None:
    store.log.append([event(kind, f"{n:032x}", label, actor="ada")])


def counted(root: Path) -> tuple[int, int, int, int, int]:
    stats = project_stats.read_stats(open_store(root))
    assert stats.labelled == sum(stats.labels_per_class.values())
    return stats.samples, stats.train, stats.labelled, stats.labels_per_class["heron"], stats.rejected


def test_cached_statistics_are_those_that_were_computed(store, monkeypatch):
    written(store, 0, Kind.RELABELLED, "heron")
    written(store, 2, Kind.RELABELLED, "crow")  # a test sample's label is none to train on
    first = project_stats.summarize_project(store)
    assert (first["samples"], first["labeled"], first["unlabeled"], first["test"]) == (3, 1, 1, 1)
    monkeypatch.setattr(project_stats, "count_stats", None)  # they must come from the cache
    assert project_stats.summarize_project(open_store(store.project.root)) == first


def test_every_change_is_counted(store):
    root = store.project.root
    assert counted(root) == (3, 2, 0, 0, 0)
    written(store, 0, Kind.RELABELLED, "heron")
    assert counted(root) == (3, 2, 1, 1, 0)
    written(store, 1, Kind.REJECTED)
    assert counted(root) == (3, 2, 1, 1, 1)
    store.catalog.add([sample(3)], [])
    assert counted(root) == (4, 3, 1, 1, 1)
    add_classes(store.project, ["swan"])
    assert "swan" in project_stats.read_stats(open_store(root)).labels_per_class


@pytest.mark.parametrize("content", ["", "[]", '{"stamp": 1}', '{"stamp": "x", "numbers": {}}'])
def test_a_damaged_cache_is_recomputed(store, content):
    root = store.project.root
    before = counted(root)
    (root / project_stats.CACHE_FILE).write_text(content)
    assert counted(root) == before
