"""A cache that is extended by new events equals one that reads the whole log."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from gradebook.pipelines.curation.event_cache import EventCache, extend, last_verdict
from gradebook.storage.events import VERDICTS, Event, Kind, decisions

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
def test_a_cache_extended_by_new_events_equals_the_replayed_log(events, cut):
    cache = extend(extend(EventCache(), events[:cut]), events[cut:])
    assert cache.decided == decisions(events)
    assert list(cache.events) == events
    assert cache.known.keys() == {e.event_id for e in events}


def test_the_verdict_to_undo_is_the_actors_last_that_decides():
    def event_at(kind, sample_id, seconds, actor):
        at = BEGIN + timedelta(seconds=seconds)
        return Event(event_id=f"{seconds:032}", at=at, actor=actor, kind=kind, sample_id=sample_id, label="crow")

    events = [
        event_at(Kind.RELABELLED, "a", 1, "ada"),
        event_at(Kind.RELABELLED, "b", 2, "ada"),
        event_at(Kind.RELABELLED, "b", 3, "bob"),
        event_at(Kind.IMPORTED, "c", 4, "ada"),
    ]
    decided = decisions(events)
    assert last_verdict(decided, "ada") == events[0], "bob has decided the other"
    assert last_verdict(decided, "eve") is None
