"""Verdicts and undos. Each is written to the log by `decide`, whether it comes from the app, FiftyOne or a command.

The caller passes the event that decided the sample when the person saw it. If another event has decided it since, the
verdict is not written but returned as a conflict. None is written on a sample whose file was replaced since its import.
"""

import getpass
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.curation import leases
from gradebook.pipelines.curation.class_changes import bring_up_to_date
from gradebook.pipelines.curation.event_cache import EventCache, extend, last_verdict
from gradebook.pipelines.curation.verdicts import Shown, undo, verdict
from gradebook.storage.events import VERDICTS, Event, Kind, answers, decisions, retracted, sequenced
from gradebook.storage.project import ProjectError
from gradebook.storage.sample_files import CHANGED, changed_samples

if TYPE_CHECKING:
    from gradebook.storage.store import Store


def _new_id() -> str:
    return uuid.uuid4().hex


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A person's choice of a class for a sample."""

    shown: Shown
    label: str | None  # None: no class applies
    expected: str | None  # the event that decided the sample when it was shown, None if nothing did
    event_id: str = field(default_factory=_new_id)  # of the verdict; an id that is already in the log is skipped


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo:
    """A person's retraction of a verdict, or of an earlier undo."""

    ref: str | None  # the event to retract; None: the actor's newest verdict that decides a sample
    expected: str | None = None  # as in `Choice`; not used without `ref`
    of_anyone: bool = False  # whether the event may be another person's
    event_id: str = field(default_factory=_new_id)  # of the retraction; see `Choice`


Item = Choice | Undo


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """An item that was not written."""

    item: Item
    by: Event | None  # the conflicting event; None: there is nothing to undo


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of `decide`."""

    taken: tuple[Event, ...]  # the verdicts and retractions that were written, in the order of their items
    conflicts: tuple[Conflict, ...]
    changed: tuple[Choice, ...] = ()  # not written: the file of their sample holds another image since its import


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelReport:
    """The result of labelling samples."""

    labelled: int  # verdicts written
    unchanged: int  # samples that a person had already given this label
    problems: list[tuple[str, str]]  # a line or file that was left out, and why

    def as_json(self) -> dict[str, Any]:
        """Returns the report as plain data."""
        return asdict(self)


def read_log(store: "Store", cached: EventCache | None = None) -> EventCache:
    """Returns the log as it is now; with a cached log, only the new events are read."""
    cached = cached or EventCache()
    return extend(cached, store.log.read(len(cached.events)))


def decide(
    store: "Store", items: Sequence[Item], *, actor: str, read: Callable[[], EventCache] | None = None
) -> Outcome:
    """Writes a person's decisions in one append, or nothing on an error.

    Conflicts, and choices for samples whose file has changed, are not written but returned.

    It holds the project's lock. Of several items about one sample, each builds on the previous ones.

    Args:
        store: the project.
        items: the decisions, in order.
        actor: the person's name.
        read: returns the log as it is now; None reads the whole log.

    Raises:
        ProjectError: a label is not a class of the project, or another process holds the lock for too long.
    """
    with leases.turn(store.project):
        log = read() if read else read_log(store)
        project = bring_up_to_date(store, log.history)
        for label in {item.label for item in items if isinstance(item, Choice) and item.label is not None}:
            project.check_label(label)
        changed = _changed(store, items)
        draft = _Draft(log, actor)
        for item in items:
            if item not in changed:
                draft.add(item)
        written = {e.event_id: e for e in store.log.append_now(list(draft.new.values()))}
    taken = tuple(written[item.event_id] for item in draft.taken)
    return Outcome(taken=taken, conflicts=tuple(draft.conflicts), changed=tuple(changed))


def _changed(store: "Store", items: Sequence[Item]) -> list[Choice]:
    """Returns the choices for samples whose file holds another image since its import."""
    chosen = {item.shown.sample_id for item in items if isinstance(item, Choice)}
    samples = store.catalog.samples(among=chosen) if chosen else []
    changed = {sample.sample_id for sample in changed_samples(store.catalog, samples)}
    return [item for item in items if isinstance(item, Choice) and item.shown.sample_id in changed]


class _Draft:
    """The log together with verdicts that are not written yet."""

    def __init__(self, log: EventCache, actor: str):
        self.new: dict[str, Event] = {}  # event_id -> event to append
        self.taken: list[Item] = []
        self.conflicts: list[Conflict] = []
        self._log, self._actor = log, actor
        self._changed: dict[str, list[Event]] = {}  # sample_id -> all its events, of samples that have new ones

    def add(self, item: Item) -> None:
        """Adds an item or its conflict; an item whose event is already in the log is skipped."""
        if self._event(item.event_id) is None:
            if isinstance(item, Choice):
                self._choose(item)
            else:
                self._undo(item)

    def _choose(self, choice: Choice) -> None:
        now = self._decision(choice.shown.sample_id)
        if now is not None and now.event_id != choice.expected:
            self.conflicts.append(Conflict(item=choice, by=now))
            return
        *proposal, answer = verdict(choice.shown, choice.label, actor=self._actor)
        self._write(choice, [*proposal, replace(answer, event_id=choice.event_id)])

    def _undo(self, item: Undo) -> None:
        event = self._last() if item.ref is None else self._event(item.ref)
        if event is None or event.kind not in VERDICTS | {Kind.RETRACTED}:
            self.conflicts.append(Conflict(item=item, by=None))
        elif (by := self._obstacle(event, item)) is not None:
            self.conflicts.append(Conflict(item=item, by=by))
        else:
            self._write(item, [replace(undo(event, actor=self._actor), event_id=item.event_id)])

    def _obstacle(self, event: Event, item: Undo) -> Event | None:
        """Returns the event because of which an event cannot be retracted, None if it can."""
        if event.actor != self._actor and not item.of_anyone:
            return event
        retraction = retracted(self._events(event.sample_id)).get(event.event_id)
        now, expected = self._decision(event.sample_id), event.event_id if item.ref is None else item.expected
        return retraction or (now if now is not None and now.event_id != expected else None)

    def _write(self, item: Item, events: list[Event]) -> None:
        sample_id = events[-1].sample_id
        before = self._events(sample_id)
        events = sequenced(events, max((e.at for e in before), default=None))
        self._changed[sample_id] = [*before, *events]
        self.new |= {e.event_id: e for e in events}
        self.taken.append(item)

    def _event(self, event_id: str) -> Event | None:
        return self.new.get(event_id) or self._log.known.get(event_id)

    def _events(self, sample_id: str) -> Sequence[Event]:
        return self._changed.get(sample_id) or self._log.of.get(sample_id, ())

    def _decision(self, sample_id: str) -> Event | None:
        changed = self._changed.get(sample_id)
        decided = self._log.decided if changed is None else decisions(changed, self._log.history)
        return decided.get(sample_id)

    def _last(self) -> Event | None:
        changed = {i: e for i in self._changed if (e := self._decision(i)) is not None}
        rest = {i: e for i, e in {**self._log.decided, **self._log.disputed}.items() if i not in self._changed}
        return last_verdict(rest | changed, self._actor)


def label_sample(store: "Store", sample_id: str, label: str, *, independent: bool = False) -> LabelReport:
    """Gives one sample a label; see `label_samples` for `independent`.

    Raises:
        ProjectError: there is no such sample or class, or another person decided the sample at the same moment.
    """
    report = label_samples(store, {sample_id: label}, who=actor(), independent=independent)
    for name, why in report.problems:
        raise ProjectError(f"{name}: {why}" + ("" if why == CHANGED else ": look at it again, then label it"))
    return report


def label_samples(store: "Store", labels: Mapping[str, str], *, who: str, independent: bool = False) -> LabelReport:
    """Gives samples their labels, as verdicts of `who`; all of them or, on an error, none.

    Args:
        store: the project.
        labels: sample_id -> class name.
        who: the person's name.
        independent: whether they were given without sight of earlier answers, which they neither replace nor settle
            (`gradebook.storage.events.answers`).

    Raises:
        ProjectError: there is no such sample or class.
    """
    seen = read_log(store)
    store.catalog.get(list(labels))
    wanted = {i: store.project.check_label(label) for i, label in labels.items()}
    return give_labels(store, wanted, seen, who, independent=independent)


def give_labels(
    store: "Store", wanted: Mapping[str, str], seen: EventCache, who: str, *, independent: bool
) -> LabelReport:
    """Gives samples their labels, except those that a person has already given; `seen` is the log it is based on."""
    decided = {i: seen.decided.get(i) for i in wanted}
    known = (
        _answered_alike(seen, wanted, who) if independent else {i for i in wanted if _has_label(decided[i], wanted[i])}
    )
    choices = [
        Choice(
            shown=Shown(sample_id=i, independent=independent), label=wanted[i], expected=now.event_id if now else None
        )
        for i, now in decided.items()
        if i not in known
    ]
    outcome = decide(store, choices, actor=who, read=partial(read_log, store, seen))
    conflicts = {c.by.sample_id: c.by for c in outcome.conflicts if c.by is not None}
    problems = [
        (i, f"{by.actor} has just decided it ({by.label or 'rejected'})")
        for i, by in conflicts.items()
        if not _has_label(by, wanted[i])
    ]
    problems += [(choice.shown.sample_id, CHANGED) for choice in outcome.changed]
    unchanged = len(wanted) - len(outcome.taken) - len(problems)
    return LabelReport(labelled=len(outcome.taken), unchanged=unchanged, problems=problems)


def actor() -> str:
    """Returns the user's account name, for the log."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without accounts
        return "somebody"


def _answered_alike(seen: EventCache, wanted: Mapping[str, str], who: str) -> set[str]:
    """Returns the samples to which this person has already given this answer."""
    given = answers(e for i in wanted for e in seen.of.get(i, ()))
    return {i for i, group in given.items() if who in group.of and group.of[who].label == wanted[i]}


def _has_label(decision: Event | None, label: str) -> bool:
    return decision is not None and decision.kind in VERDICTS and decision.label == label
