"""The events of the label log, and two pure functions of them: `replay` returns labels, `queue` open proposals.

Events are only appended, by reviewers, imports and models. The order of events and repeated events do not change the
result of either function, so a log that was copied, merged or read twice gives the same result.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from gradebook.storage.class_changes import ClassChange, from_json, to_json
from gradebook.storage.class_history import ClassEvent, ClassHistory, Meaning


class Kind(StrEnum):
    """The kinds of events."""

    PROPOSED = "proposed"  # a model proposes a label, with reasons to review it
    ACCEPTED = "accepted"  # a person accepts the proposed label
    RELABELLED = "relabelled"  # a person gives a label that was not proposed
    REJECTED = "rejected"  # a person rejects the image: no class of the project applies
    RETRACTED = "retracted"  # a person retracts the event in `ref`
    IMPORTED = "imported"  # an import took the label from a file or a folder's name
    CLASSES = "classes"  # a person changes the classes of the project; of no sample, the change is in `label` as JSON


RESOLUTION = timedelta(microseconds=1)  # of event times
VERDICTS = frozenset({Kind.ACCEPTED, Kind.RELABELLED, Kind.REJECTED})
NO_SAMPLE = ""  # the sample id of a class change and of its retraction
INDEPENDENT = "independent_answer"  # in the reasons of a verdict that was given without sight of the answers before it


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One row of the log. `event` creates new ones with an id and the time."""

    event_id: str  # 32 hexadecimal digits, unique
    at: datetime  # UTC
    actor: str  # a person's name, "import" for a label from a file that names nobody, or "run:NAME"
    kind: Kind
    sample_id: str
    label: str | None = None  # a class name as it was at that time, never an index
    confidence: float | None = None  # the proposing model's probability of `label`
    reasons: Mapping[str, float] = field(default_factory=dict)  # reason -> score in [0, 1]
    ref: str | None = None  # the event that this one answers or retracts

    @property
    def is_independent(self) -> bool:
        """Whether this is a further answer about a sample, given without sight of the answers before it."""
        return self.kind in VERDICTS and INDEPENDENT in self.reasons

    @property
    def change(self) -> ClassChange | None:
        """The change of a class event; None of other events, and of one that cannot be read and so changes nothing."""
        if self.kind is not Kind.CLASSES or self.label is None:
            return None
        try:
            return from_json(self.label)
        except ValueError:
            return None


@dataclass(slots=True)
class Answers:
    """The answers of several reviewers about one sample, each given without sight of the others'."""

    of: dict[str, Event]  # actor -> answer, in order of time
    settled: Event | None = None  # the verdict that was given with sight of them

    @property
    def newest(self) -> Event:
        """The last answer."""
        return list(self.of.values())[-1]


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
    """Returns a new event with the present time."""
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


def retraction(of: Event, *, actor: str) -> Event:
    """Returns the event that retracts another. It is later than that one, even if the clock was set back since."""
    (retracting,) = sequenced([event(Kind.RETRACTED, of.sample_id, actor=actor, ref=of.event_id)], of.at)
    return retracting


def class_event(change: ClassChange, *, actor: str) -> Event:
    """Returns a new event that changes the classes of the project."""
    return event(Kind.CLASSES, NO_SAMPLE, to_json(change), actor=actor)


def is_class_event(e: Event) -> bool:
    """Returns whether an event changes the classes, or retracts such a change."""
    return e.kind is Kind.CLASSES or (e.kind is Kind.RETRACTED and e.sample_id == NO_SAMPLE)


def class_history(events: Iterable[Event]) -> ClassHistory:
    """Returns the class changes in a log; empty if the classes never changed."""
    rows = [(e, e.change) for e in events if is_class_event(e)]
    return ClassHistory(
        ClassEvent(event_id=e.event_id, at=e.at, change=change, ref=e.ref)
        for e, change in rows
        if change is not None or e.kind is Kind.RETRACTED
    )


def sequenced(events: Iterable[Event], after: datetime | None) -> list[Event]:
    """Returns the events in this order, each later than `after` and than the one before it.

    Times that are already in order are not changed. The others are moved, because a clock that was set back, or another
    machine's clock, could sort a verdict before its proposal.
    """
    rows, last = list[Event](), after
    for e in events:
        last = e.at if last is None else max(e.at, last + RESOLUTION)
        rows.append(e if e.at == last else replace(e, at=last))
    return rows


def replay(events: Iterable[Event]) -> dict[str, str]:
    """Returns the label of every labelled sample: sample_id -> class name.

    A verdict outranks an import, whichever is later. Among verdicts, and among imports, the last one that is not
    retracted wins. A rejected sample has no label, and neither has one whose independent answers differ (`conflicts`).
    Proposals never become labels by themselves. Labels of classes that were renamed or merged since are returned under
    their present name; those of a class that was removed or split are left out, until that is undone.
    """
    return {s: e.label for s, e in decisions(events).items() if e.label is not None}


def decided_labels(events: Iterable[Event], history: ClassHistory | None = None) -> dict[str, str | None]:
    """Returns the label of every decided sample, None for rejected samples: sample_id -> class name.

    Args:
        events: of the log, or all events of some samples.
        history: of the whole log; None if `events` is the whole log.
    """
    return {s: e.label for s, e in decisions(events, history).items()}


def decisions(events: Iterable[Event], history: ClassHistory | None = None) -> dict[str, Event]:
    """Returns the event that decides each decided sample, a verdict or an import: sample_id -> event.

    The event has the present name of its class. See `decided_labels` for the arguments.
    """
    rows = list(events)
    history = class_history(rows) if history is None else history
    deciding = _deciding(rows, history)
    if not history:
        return deciding
    return {i: now for i, e in deciding.items() if (now := with_present_name(e, history)) is not None}


def answers(events: Iterable[Event]) -> dict[str, Answers]:
    """Returns the answers about each sample that a person decided, with the labels as they were written.

    The first answer is a verdict as any other, and further ones are independent. A verdict that is not independent
    replaces a single answer, and settles several: they stay, for measures of agreement.
    """
    return _answers(standing(events))


def conflicts(events: Iterable[Event], history: ClassHistory | None = None) -> dict[str, Answers]:
    """Returns the samples whose answers differ and are not settled; their answers have the present class names.

    See `decided_labels` for the arguments.
    """
    rows = list(events)
    return _conflicts(standing(rows), class_history(rows) if history is None else history)


def undecided_by_classes(events: Iterable[Event]) -> dict[str, Meaning]:
    """Returns why samples have no label any more whose class was removed or split: sample_id -> what it means now."""
    rows = list(events)
    history = class_history(rows)
    if not history:
        return {}
    meanings = {
        i: history.meaning(e.label, _key(e)) for i, e in _deciding(rows, history).items() if e.label is not None
    }
    return {i: meaning for i, meaning in meanings.items() if meaning.name is None}


def with_present_name(e: Event, history: ClassHistory) -> Event | None:
    """Returns an event of a sample with the present name of its class, None if that is no class any more."""
    if e.label is None or not history:
        return e
    name = history.meaning(e.label, _key(e)).name
    return e if name == e.label else None if name is None else replace(e, label=name)


def queue(events: Iterable[Event]) -> list[Event]:
    """Returns the proposals without a verdict, oldest first, with the present names of their classes.

    A proposal is answered by a verdict that refers to it, or by any later verdict on the same sample.
    """
    log = list(events)
    rows, history = standing(log), class_history(log)
    answered = {e.ref for e in rows if e.kind in VERDICTS}
    judged = {e.sample_id: _key(e) for e in rows if e.kind in VERDICTS}
    waiting = [
        e
        for e in rows
        if e.kind is Kind.PROPOSED and e.event_id not in answered and judged.get(e.sample_id, _BEGINNING) < _key(e)
    ]
    return [now for e in waiting if (now := with_present_name(e, history)) is not None]


def standing(events: Iterable[Event]) -> list[Event]:
    """Returns the events that are not retracted, without repeats, in order of time.

    A retraction can itself be retracted. An event can only retract an earlier one.
    """
    rows = in_order(events)
    retractions = retracted(rows)
    return [e for e in rows if e.event_id not in retractions and e.kind is not Kind.RETRACTED]


def retracted(events: Iterable[Event]) -> dict[str, Event]:
    """Returns the newest retraction of each retracted event, by the id of that event."""
    retractions: dict[str, Event] = {}
    later: set[str] = set()
    for e in reversed(in_order(events)):
        if e.kind is Kind.RETRACTED and e.event_id not in retractions and e.ref is not None and e.ref not in later:
            retractions.setdefault(e.ref, e)
        later.add(e.event_id)
    return retractions


def in_order(events: Iterable[Event]) -> list[Event]:
    """Returns the events in order of time, without repeats."""
    return sorted({e.event_id: e for e in events}.values(), key=_key)


def _deciding(events: Iterable[Event], history: ClassHistory) -> dict[str, Event]:
    """Returns the event that decides each sample, with the label as it was written."""
    deciding, rows = dict[str, Event](), standing(events)
    for e in rows:
        before = deciding.get(e.sample_id)
        if e.kind in VERDICTS or (e.kind is Kind.IMPORTED and (before is None or before.kind is e.kind)):
            deciding[e.sample_id] = e
    for sample_id in _conflicts(rows, history):
        del deciding[sample_id]
    return deciding


def _answers(rows: Sequence[Event]) -> dict[str, Answers]:
    groups: dict[str, Answers] = {}
    for e in rows:
        if e.kind not in VERDICTS:
            continue
        group = groups.get(e.sample_id)
        if group is None or (len(group.of) == 1 and not e.is_independent):
            groups[e.sample_id] = Answers({e.actor: e})
        elif e.is_independent and group.settled is None:
            group.of[e.actor] = e
        else:
            group.settled = e
    return groups


def _conflicts(rows: Sequence[Event], history: ClassHistory) -> dict[str, Answers]:
    about = {e.sample_id for e in rows if e.is_independent}
    groups = _answers([e for e in rows if e.sample_id in about]) if about else {}
    unsettled = {i: group for i, group in groups.items() if group.settled is None}
    named = {i: Answers(_present_answers(group, history)) for i, group in unsettled.items()}
    return {i: group for i, group in named.items() if len({e.label for e in group.of.values()}) > 1}


def _present_answers(group: Answers, history: ClassHistory) -> dict[str, Event]:
    """Returns the answers with the present names of their classes, without those whose class is none any more."""
    return {actor: now for actor, e in group.of.items() if (now := with_present_name(e, history)) is not None}


def _key(e: Event) -> tuple[datetime, str]:
    return e.at, e.event_id


_BEGINNING = (datetime.min.replace(tzinfo=UTC), "")
