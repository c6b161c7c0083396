"""The label log's rows and the two folds over them: `replay` gives labels, `queue` open proposals.

People and models add rows; nothing edits one. Both folds are pure and blind to order and repeats, so a
log that was copied, merged or read twice means the same.
"""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum


class Kind(StrEnum):
    """What a row says of its sample."""

    PROPOSED = "proposed"  # a model: please look, this is my guess and why
    ACCEPTED = "accepted"  # a person: the proposed label is right
    RELABELLED = "relabelled"  # a person: it is this label (also where nothing was proposed)
    REJECTED = "rejected"  # a person: no label of ours applies
    RETRACTED = "retracted"  # a person: forget the event in `ref`
    IMPORTED = "imported"  # a file or a folder name said so at import


RESOLUTION = timedelta(microseconds=1)  # of the times in the log
VERDICTS = frozenset({Kind.ACCEPTED, Kind.RELABELLED, Kind.REJECTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One row of the log. Make new ones with `event`, which fills in the id and the time."""

    event_id: str  # 32 hexadecimal digits, unique
    at: datetime  # UTC
    actor: str  # who: a person's name, "import", or "run:NAME"
    kind: Kind
    sample_id: str
    label: str | None = None  # a class name, never an index
    confidence: float | None = None  # the proposing model's probability of `label`
    reasons: Mapping[str, float] = field(default_factory=dict)  # reason -> score in [0, 1]
    ref: str | None = None  # the event that this one answers or retracts


def event(  # noqa: PLR0913  # columns of the log
    kind: Kind,
    sample_id: str,
    label: str | None = None,
    *,
    actor: str,
    confidence: float | None = None,
    reasons: Mapping[str, float] | None = None,
    ref: str | None = None,
) -> Event:
    """Returns a new event that happens now."""
    return Event(
        event_id=uuid.uuid4().hex,
        at=datetime.now(UTC),
        actor=actor,
        kind=kind,
        sample_id=sample_id,
        label=label,
        confidence=confidence,
        reasons=dict(reasons or {}),
        ref=ref,
    )


def retraction(said: Event, *, actor: str) -> Event:
    """Returns the event that takes another back. It is later than that one, even if the clock was set back since."""
    (taken_back,) = sequenced([event(Kind.RETRACTED, said.sample_id, actor=actor, ref=said.event_id)], said.at)
    return taken_back


def sequenced(events: Iterable[Event], after: datetime | None) -> list[Event]:
    """Returns the events in this order, each later than `after` and than the one before it.

    Times that are in order already stay. The others move: a clock that was set back, or another machine's, would sort
    an answer before what it answers.
    """
    rows, last = list[Event](), after
    for e in events:
        last = e.at if last is None else max(e.at, last + RESOLUTION)
        rows.append(e if e.at == last else replace(e, at=last))
    return rows


def replay(events: Iterable[Event]) -> dict[str, str]:
    """Returns the label of every labelled sample: sample_id -> class name.

    A verdict outranks an import, whenever either came; among equals the last standing one wins; a
    rejected sample has no label. Proposals are guesses and never become labels by themselves.
    """
    return {s: e.label for s, e in decisions(events).items() if e.label is not None}


def decided_labels(events: Iterable[Event]) -> dict[str, str | None]:
    """Returns the label of every decided sample, None for those to which no class applies: sample_id -> class name."""
    return {s: e.label for s, e in decisions(events).items()}


def decisions(events: Iterable[Event]) -> dict[str, Event]:
    """Returns the event that decides each sample which a person or an import has decided."""
    deciding: dict[str, Event] = {}
    for e in standing(events):
        before = deciding.get(e.sample_id)
        if e.kind in VERDICTS or (e.kind is Kind.IMPORTED and (before is None or before.kind is e.kind)):
            deciding[e.sample_id] = e
    return deciding


def queue(events: Iterable[Event]) -> list[Event]:
    """Returns the proposals no one has answered yet, oldest first.

    A verdict that refers to a proposal answers it; so does any later verdict on the same sample.
    """
    rows = standing(events)
    answered = {e.ref for e in rows if e.kind in VERDICTS}
    judged = {e.sample_id: (e.at, e.event_id) for e in rows if e.kind in VERDICTS}
    return [
        e
        for e in rows
        if e.kind is Kind.PROPOSED
        and e.event_id not in answered
        and judged.get(e.sample_id, _BEGINNING) < (e.at, e.event_id)
    ]


def standing(events: Iterable[Event]) -> list[Event]:
    """Returns the events that nobody retracted, each once, in order of time.

    A retraction can itself be retracted: undo, and undo of undo. An event only retracts an earlier one.
    """
    rows = in_order(events)
    gone = retracted(rows)
    return [e for e in rows if e.event_id not in gone and e.kind is not Kind.RETRACTED]


def retracted(events: Iterable[Event]) -> dict[str, Event]:
    """Returns the events that are taken back, by id, each with the newest event that does so."""
    gone: dict[str, Event] = {}
    later: set[str] = set()
    for e in reversed(in_order(events)):
        if e.kind is Kind.RETRACTED and e.event_id not in gone and e.ref is not None and e.ref not in later:
            gone.setdefault(e.ref, e)
        later.add(e.event_id)
    return gone


def in_order(events: Iterable[Event]) -> list[Event]:
    """Returns the events in order of time, each once."""
    return sorted({e.event_id: e for e in events}.values(), key=lambda e: (e.at, e.event_id))


_BEGINNING = (datetime.min.replace(tzinfo=UTC), "")
