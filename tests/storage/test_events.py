"""Replaying the log: the result does not depend on the order or the number of copies of its rows."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from gradebook.storage.events import VERDICTS, Event, Kind, decisions, event, queue, replay, standing

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(
    minute: int, kind: Kind, label: str | None = None, *, of: str = "s0", ref: Event | None = None, name: str = ""
) -> Event:
    return Event(
        event_id=name or f"{minute:04d}",
        at=START + timedelta(minutes=minute),
        actor="a",
        kind=kind,
        sample_id=of,
        label=label,
        ref=ref.event_id if ref else None,
    )


def ids(events: list[Event]) -> list[str]:
    return [e.event_id for e in events]


def test_an_empty_log_gives_no_labels():
    assert replay([]) == decisions([]) == {}
    assert queue([]) == standing([]) == []


def test_a_new_event_happens_now_in_utc_and_has_an_id_of_its_own():
    one, other = (event(Kind.ACCEPTED, "s0", "cat", actor="me") for _ in range(2))
    assert one.event_id != other.event_id
    assert len(one.event_id) == 32
    assert one.at.tzinfo is UTC
    assert abs(datetime.now(UTC) - one.at) < timedelta(minutes=1)


def test_the_last_verdict_wins():
    assert replay([at(1, Kind.RELABELLED, "cat"), at(2, Kind.ACCEPTED, "dog")]) == {"s0": "dog"}


def test_a_rejected_sample_has_no_label_but_a_decision():
    rows = [at(1, Kind.IMPORTED, "cat"), at(2, Kind.REJECTED)]
    assert replay(rows) == {}
    assert decisions(rows) == {"s0": rows[1]}


def test_a_verdict_outranks_an_import_whenever_either_came():
    verdict = at(1, Kind.RELABELLED, "cat")
    assert replay([verdict, at(2, Kind.IMPORTED, "dog")]) == {"s0": "cat"}
    assert replay([at(0, Kind.IMPORTED, "dog"), verdict]) == {"s0": "cat"}


def test_the_last_import_wins_among_imports():
    assert replay([at(1, Kind.IMPORTED, "cat"), at(2, Kind.IMPORTED, "dog")]) == {"s0": "dog"}


def test_a_proposal_is_no_label():
    assert replay([at(1, Kind.PROPOSED, "cat")]) == {}


def test_undo_brings_back_what_was_before_and_undo_of_undo_the_verdict():
    first, second = at(1, Kind.RELABELLED, "cat"), at(2, Kind.RELABELLED, "dog")
    undo = at(3, Kind.RETRACTED, ref=second)
    assert replay([first, second, undo]) == {"s0": "cat"}
    again = at(4, Kind.RETRACTED, ref=undo)
    assert replay([first, second, undo, again]) == {"s0": "dog"}
    assert replay([first, second, undo, again, at(5, Kind.RETRACTED, ref=again)]) == {"s0": "cat"}


def test_undoing_the_only_verdict_leaves_the_import():
    verdict = at(2, Kind.REJECTED)
    rows = [at(1, Kind.IMPORTED, "cat"), verdict, at(3, Kind.RETRACTED, ref=verdict)]
    assert replay(rows) == {"s0": "cat"}


def test_a_retraction_of_what_is_not_there_does_nothing():
    rows = [at(1, Kind.ACCEPTED, "cat"), at(2, Kind.RETRACTED, ref=at(9, Kind.ACCEPTED, "x", name="nowhere"))]
    assert replay(rows) == {"s0": "cat"}


def test_the_queue_holds_open_proposals_oldest_first():
    rows = [at(2, Kind.PROPOSED, "cat", of="s1"), at(1, Kind.PROPOSED, "dog")]
    assert ids(queue(rows)) == ["0001", "0002"]


def test_a_verdict_on_the_sample_or_on_the_proposal_answers_it():
    proposal = at(1, Kind.PROPOSED, "cat")
    assert queue([proposal, at(2, Kind.REJECTED)]) == []
    assert queue([proposal, at(0, Kind.ACCEPTED, "cat", ref=proposal)]) == []


def test_a_proposal_after_the_verdict_is_open():
    rows = [at(1, Kind.ACCEPTED, "cat"), at(2, Kind.PROPOSED, "dog")]
    assert ids(queue(rows)) == ["0002"]


def test_an_import_answers_no_proposal():
    assert ids(queue([at(1, Kind.PROPOSED, "cat"), at(2, Kind.IMPORTED, "cat")])) == ["0001"]


def test_undo_puts_the_proposal_back():
    proposal, verdict = at(1, Kind.PROPOSED, "cat"), at(2, Kind.ACCEPTED, "cat")
    assert queue([proposal, verdict, at(3, Kind.RETRACTED, ref=verdict)]) == [proposal]


@st.composite
def logs(draw: st.DrawFn) -> list[Event]:
    rows: list[Event] = []
    for n in range(draw(st.integers(0, 10))):
        minute = draw(st.integers(0, 5))  # several events may happen at once
        kind = draw(st.sampled_from(list(Kind)))
        earlier = [e for e in rows if (e.at, e.event_id) < (START + timedelta(minutes=minute), f"{n:04d}")]
        ref = draw(st.sampled_from(earlier)) if earlier and draw(st.booleans()) else None
        label = draw(st.sampled_from(["cat", "dog"]))
        rows.append(at(minute, kind, label, of=draw(st.sampled_from(["s0", "s1"])), ref=ref, name=f"{n:04d}"))
    return rows


@given(rows=logs(), random=st.randoms(use_true_random=False))
def test_folds_ignore_order_and_repeats(rows, random):
    shuffled = rows + random.sample(rows, len(rows) // 2)
    random.shuffle(shuffled)
    assert replay(shuffled) == replay(rows)
    assert queue(shuffled) == queue(rows)
    assert standing(shuffled) == standing(rows)


@given(rows=logs())
def test_folds_agree_with_reading_the_log_day_by_day(rows):
    """The plain way: an event stands unless a standing retraction names it; then one sample at a time, in order."""
    ordered = sorted(rows, key=lambda e: (e.at, e.event_id))

    def stands(e: Event) -> bool:
        return not any(r.kind is Kind.RETRACTED and r.ref == e.event_id and stands(r) for r in rows)

    assert ids(standing(rows)) == [e.event_id for e in ordered if e.kind is not Kind.RETRACTED and stands(e)]
    expected = {}
    for sample_id in ("s0", "s1"):
        mine = [e for e in ordered if e.sample_id == sample_id and stands(e)]
        deciding = [e for e in mine if e.kind in VERDICTS] or [e for e in mine if e.kind is Kind.IMPORTED]
        if deciding and deciding[-1].label is not None:
            expected[sample_id] = deciding[-1].label
    assert replay(rows) == expected


@given(rows=logs())
def test_a_retraction_of_the_last_event_undoes_it(rows):
    new = at(10, Kind.RELABELLED, "cat", name="new")
    undo = at(11, Kind.RETRACTED, ref=new, name="undo")
    assert replay([*rows, new, undo]) == replay(rows)
    assert queue([*rows, new, undo]) == queue(rows)


def test_a_retraction_undoes_no_later_event():
    early = event(Kind.RETRACTED, "s0", actor="ada", ref="later")
    later = replace(
        event(Kind.RELABELLED, "s0", "cat", actor="ada"), event_id="later", at=early.at + timedelta(seconds=1)
    )
    assert replay([early, later]) == {"s0": "cat"}
