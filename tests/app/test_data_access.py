"""The app reads the log once, then only new events."""

from dataclasses import replace

from gradebook.app.data_access import read_events
from gradebook.pipelines.curation.event_cache import EventCache
from gradebook.storage.log import MemoryLog
from gradebook.storage.store import Store


def test_a_second_read_reads_new_events_only(store, ids, monkeypatch):
    reads = []
    read = store.log.read
    monkeypatch.setattr(store.log, "read", lambda after=0: reads.append(after) or read(after))
    before = len(read_events(store).events)
    read_events(store)
    store.log.append([replace(read_events(store).events[0], event_id="f" * 32, sample_id=ids[0], label="heron")])
    assert read_events(store).labels[ids[0]] == "heron"
    assert reads == [0, before]


def test_another_project_in_the_same_folder_is_read_from_the_start(store, ids):
    assert read_events(store).events
    other = Store(store.project, store.catalog, MemoryLog(), store.vectors, store.record)
    assert read_events(other) == EventCache()
