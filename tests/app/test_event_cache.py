"""The book that grows is the book that is read anew."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from gradebook.app.context import read_book
from gradebook.app.event_cache import Book, grown, last_verdict
from gradebook.storage.events import VERDICTS, Event, Kind, decisions
from gradebook.storage.log import MemoryLog
from gradebook.storage.store import Store

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


@st.composite
def logs(draw) -> list[Event]:
    """Draws events about few samples at few times, some taking back earlier ones, in any order and with repeats."""
    events: list[Event] = []
    for n in range(draw(st.integers(0, 14))):
        at = BEGIN + timedelta(seconds=draw(st.integers(0, 9)))
        retracts = bool(events) and draw(st.booleans())
        old = draw(st.sampled_from(events)) if retracts else None
        kind = Kind.RETRACTED if old else draw(st.sampled_from([Kind.IMPORTED, Kind.PROPOSED, *sorted(VERDICTS)]))
        sample_id = old.sample_id if old else draw(st.sampled_from("abc"))
        label = draw(st.sampled_from(["crow", "heron"]))
        who = draw(st.sampled_from(["ada", "bob"]))
        ref = old.event_id if old else None
        events.append(
            Event(event_id=f"{n:032}", at=at, actor=who, kind=kind, sample_id=sample_id, label=label, ref=ref)
        )
    return draw(st.permutations([*events, *events[:2]]))


@given(logs(), st.integers(0, 16))
def test_a_book_that_grows_says_what_the_whole_log_says(events, cut):
    book = grown(grown(Book(), events[:cut]), events[cut:])
    assert book.decided == decisions(events)
    assert list(book.events) == events
    assert book.known.keys() == {e.event_id for e in events}


def test_the_verdict_to_undo_is_the_actors_last_that_decides(store, ids):
    def said(kind, sample_id, seconds, actor):
        at = BEGIN + timedelta(seconds=seconds)
        return Event(event_id=f"{seconds:032}", at=at, actor=actor, kind=kind, sample_id=sample_id, label="crow")

    events = [
        said(Kind.RELABELLED, "a", 1, "ada"),
        said(Kind.RELABELLED, "b", 2, "ada"),
        said(Kind.RELABELLED, "b", 3, "bob"),
        said(Kind.IMPORTED, "c", 4, "ada"),
    ]
    book = grown(Book(), events)
    assert last_verdict(book, "ada") == events[0], "bob has decided the other"
    assert last_verdict(book, "eve") is None


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
    assert read_book(other) == Book()
