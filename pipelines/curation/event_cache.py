"""The label log in memory with its decisions, updated incrementally by the events that were appended."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gradebook.storage.class_history import ClassHistory
from gradebook.storage.events import VERDICTS, Event, Kind, class_history, conflicts, decisions, is_class_event


@dataclass(frozen=True, slots=True)
class EventCache:
    """The events of a log, indexed by id and by sample, and the decision about each sample."""

    events: Sequence[Event] = ()  # in the order in which they were appended
    decided: Mapping[str, Event] = field(default_factory=dict)  # sample_id -> the event that decides it
    known: Mapping[str, Event] = field(default_factory=dict)  # event_id -> event
    of: Mapping[str, Sequence[Event]] = field(default_factory=dict)  # sample_id -> all events about it
    history: ClassHistory = field(default_factory=ClassHistory)  # of the project's classes
    disputed: Mapping[str, Event] = field(default_factory=dict)  # sample_id -> newest of its answers, which differ

    @property
    def labels(self) -> dict[str, str]:
        """The label of each labelled sample, as `replay` returns it."""
        return {sample_id: e.label for sample_id, e in self.decided.items() if e.label is not None}


def extend(cache: EventCache, new: Sequence[Event]) -> EventCache:
    """Returns the cache with events added, equal to a cache of all events.

    Only the samples of the new events are decided again, so the cost of a verdict does not grow with the log. After a
    change of classes all samples are.
    """
    if not new:
        return cache
    events, known = [*cache.events, *new], {**cache.known, **{e.event_id: e for e in new}}
    of, decided, disputed = dict(cache.of), dict(cache.decided), dict(cache.disputed)
    touched = dict[str, list[Event]]()
    for e in new:
        touched.setdefault(_about(e, known), []).append(e)
    for sample_id, more in touched.items():
        of[sample_id] = [*of.get(sample_id, ()), *more]
    if not cache.events or any(map(is_class_event, new)):
        history = class_history(events)
        return EventCache(events, decisions(events, history), known, of, history, _disputed(events, history))
    for sample_id in touched:
        for table, now in (
            (decided, decisions(of[sample_id], cache.history)),
            (disputed, _disputed(of[sample_id], cache.history)),
        ):
            if sample_id in now:
                table[sample_id] = now[sample_id]
            else:
                table.pop(sample_id, None)
    return EventCache(events, decided, known, of, cache.history, disputed)


def _disputed(events: Iterable[Event], history: ClassHistory) -> dict[str, Event]:
    return {sample_id: answers.newest for sample_id, answers in conflicts(events, history).items()}


def last_verdict(decided: Mapping[str, Event], actor: str) -> Event | None:
    """Returns the actor's newest verdict among the decisions of samples, which is the next one to undo."""
    own = [e for e in decided.values() if e.actor == actor and e.kind in VERDICTS]
    return max(own, key=lambda e: (e.at, e.event_id), default=None)


def _about(e: Event, known: Mapping[str, Event]) -> str:
    """Returns the sample that an event is about; a retraction is about the sample of the event that it retracts."""
    before = known.get(e.ref) if e.kind is Kind.RETRACTED and e.ref is not None else None
    return e.sample_id if before is None else before.sample_id
