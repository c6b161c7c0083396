"""The app reads the log once, then only what has come since."""

from dataclasses import replace

from gradebook.app.context import read_book
from gradebook.pipelines.curation.event_cache import EventCache
from gradebook.storage.log import MemoryLog
from gradebook.storage.store import Store


def test_a_press_reads_only_what_is_new(store, ids, monkeypatch):
    reads = []
    read = store.log.read
    monkeypatch.setattr(store.log, "read", lambda after=0: reads.append(after) or read(after))
    before = len(read_book(store).events)
    read_book(store)
    store.log.append([replace(read_book(store).events[0], event_id="f" * 32, sample_id=ids[0], label="heron")])
    assert read_book(store).labels[ids[0]] == "heron"
    assert reads == [0, before]


def test_a_project_made_anew_in_the_same_place_is_read_anew(store, ids):
    assert read_book(store).events
    other = Store(store.project, store.catalog, MemoryLog(), store.vectors, store.record)
    assert read_book(other) == EventCache()
