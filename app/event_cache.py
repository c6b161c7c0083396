"""The log as the app keeps it: read once, then only what has come since, with the fold that gives labels beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gradebook.storage.events import VERDICTS, Event, Kind, decisions


@dataclass(frozen=True, slots=True)
class Book:
    """The log, and the fold over it."""

    events: Sequence[Event] = ()  # in the order they were appended
    decided: Mapping[str, Event] = field(default_factory=dict)  # sample_id -> the event that decides it
    known: Mapping[str, Event] = field(default_factory=dict)  # event_id -> event
    of: Mapping[str, Sequence[Event]] = field(default_factory=dict)  # sample_id -> the events that decide about it

    @property
    def labels(self) -> dict[str, str]:
        """Returns the label of every labelled sample, as `replay` does."""
        return {sample_id: e.label for sample_id, e in self.decided.items() if e.label is not None}


def grown(book: Book, new: Sequence[Event]) -> Book:
    """Returns the book with events added: `decided` is what `gradebook.storage.events.decisions` says of all of them.

    Only samples that the new events are about are folded again, so that a press costs the same in a long log.
    """
    if not new:
        return book
    events, known = [*book.events, *new], {**book.known, **{e.event_id: e for e in new}}
    of, decided, touched = dict(book.of), dict(book.decided), dict[str, list[Event]]()
    for e in new:
        touched.setdefault(_about(e, known), []).append(e)
    for sample_id, more in touched.items():
        of[sample_id] = [*of.get(sample_id, ()), *more]
    if not book.events:
        return Book(events, decisions(events), known, of)
    for sample_id in touched:
        decision = decisions(of[sample_id]).get(sample_id)
        if decision is None:
            decided.pop(sample_id, None)
        else:
            decided[sample_id] = decision
    return Book(events, decided, known, of)


def last_verdict(book: Book, actor: str) -> Event | None:
    """Returns the actor's newest verdict that decides a sample, which is the one to undo next."""
    mine = [e for e in book.decided.values() if e.actor == actor and e.kind in VERDICTS]
    return max(mine, key=lambda e: (e.at, e.event_id), default=None)


def _about(e: Event, known: Mapping[str, Event]) -> str:
    """Returns the sample that an event decides about: a retraction is about what it takes back."""
    before = known.get(e.ref) if e.kind is Kind.RETRACTED and e.ref is not None else None
    return e.sample_id if before is None else before.sample_id
