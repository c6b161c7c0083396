"""The log in memory, with the fold that gives labels: it is read once, then grows by the events that were added."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gradebook.storage.events import VERDICTS, Event, Kind, decisions


@dataclass(frozen=True, slots=True)
class EventCache:
    """The events of a log, what they decide, and where to find each."""

    events: Sequence[Event] = ()  # in the order they were appended
    decided: Mapping[str, Event] = field(default_factory=dict)  # sample_id -> the event that decides it
    known: Mapping[str, Event] = field(default_factory=dict)  # event_id -> event
    of: Mapping[str, Sequence[Event]] = field(default_factory=dict)  # sample_id -> the events that decide about it

    @property
    def labels(self) -> dict[str, str]:
        """Returns the label of every labelled sample, as `replay` does."""
        return {sample_id: e.label for sample_id, e in self.decided.items() if e.label is not None}


def grown(cache: EventCache, new: Sequence[Event]) -> EventCache:
    """Returns a cache with events added; it holds what one made of all events at once would hold.

    Only the samples of the new events are folded again, so a verdict costs the same in a long log as in a short one.
    """
    if not new:
        return cache
    events, known = [*cache.events, *new], {**cache.known, **{e.event_id: e for e in new}}
    of, decided, touched = dict(cache.of), dict(cache.decided), dict[str, list[Event]]()
    for e in new:
        touched.setdefault(_about(e, known), []).append(e)
    for sample_id, more in touched.items():
        of[sample_id] = [*of.get(sample_id, ()), *more]
    if not cache.events:
        return EventCache(events, decisions(events), known, of)
    for sample_id in touched:
        decision = decisions(of[sample_id]).get(sample_id)
        if decision is None:
            decided.pop(sample_id, None)
        else:
            decided[sample_id] = decision
    return EventCache(events, decided, known, of)


def last_verdict(decided: Mapping[str, Event], actor: str) -> Event | None:
    """Returns the actor's newest verdict among those that decide a sample, which is the one to undo next."""
    mine = [e for e in decided.values() if e.actor == actor and e.kind in VERDICTS]
    return max(mine, key=lambda e: (e.at, e.event_id), default=None)


def _about(e: Event, known: Mapping[str, Event]) -> str:
    """Returns the sample that an event decides about: a retraction is about what it takes back."""
    before = known.get(e.ref) if e.kind is Kind.RETRACTED and e.ref is not None else None
    return e.sample_id if before is None else before.sample_id
