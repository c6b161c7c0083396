"""The classes of a project as a function of the class changes in its log.

A label in the log is the name that its class had when the event was written. `ClassHistory` returns the class of that
name now: another name after a rename or a merge, none after a removal or a split. It depends on neither the order of
the rows nor on repeats.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from gradebook.storage.class_changes import Action, ClassChange, ProjectClass, from_json, to_json


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassEvent:
    """A class change in the log, or the retraction of one."""

    event_id: str
    at: datetime  # UTC
    change: ClassChange | None  # None: a retraction
    ref: str | None = None  # the class change, or the retraction, that it retracts

    @property
    def key(self) -> tuple[datetime, str]:
        """The position in the order of the log."""
        return self.at, self.event_id


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a label means now."""

    name: str | None  # a class of the project; None: the sample is undecided
    reason: str = ""  # why it is undecided
    is_open: bool = False  # whether its sample is to be labelled again, as after a split


@dataclass(frozen=True, slots=True)
class _State:
    """The classes after some changes. A class has an id that no change of its name alters."""

    live: Mapping[str, ProjectClass] = field(default_factory=dict)  # id -> class, in the project's order
    names: Mapping[str, str] = field(default_factory=dict)  # name, present or former -> id of its newest class
    merged: Mapping[str, str] = field(default_factory=dict)  # id -> id of the class that it was merged into
    gone: Mapping[str, Meaning] = field(default_factory=dict)  # id of a removed or split class -> its meaning

    def id_of(self, name: str) -> str | None:
        """Returns the id of a present class."""
        class_id = self.names.get(name, "")
        return class_id if class_id in self.live and self.live[class_id].name == name else None


class ClassHistory:
    """The class changes of a project, and what a label of any time means now."""

    def __init__(self, events: Iterable[ClassEvent] = ()):
        self.events = tuple(sorted({e.event_id: e for e in events}.values(), key=lambda e: e.key))
        self._parents: dict[str, str] = {}  # id of a class that came from a split -> id of the class that was split
        self._dissolved: dict[str, str] = {}  # id of an added or merged class -> reason if the change is retracted
        self._states = [self._state(self.events[:n]) for n in range(len(self.events) + 1)]
        self._meanings: dict[tuple[int, str], Meaning] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClassHistory) and self.events == other.events

    def __hash__(self) -> int:
        return hash(self.events)

    def __bool__(self) -> bool:
        return bool(self.events)

    @property
    def classes(self) -> tuple[ProjectClass, ...]:
        """The present classes in the project's order; empty before the first change."""
        return tuple(self._states[-1].live.values())

    @property
    def standing(self) -> list[ClassEvent]:
        """The changes that are not retracted, oldest first, without `INITIAL`."""
        return [e for e in _standing(self.events) if e.change and e.change.action is not Action.INITIAL]

    @property
    def newest(self) -> str | None:
        """The id of the newest event, which identifies this state of the classes; None before the first."""
        return self.events[-1].event_id if self.events else None

    def meaning(self, label: str, at: tuple[datetime, str]) -> Meaning:
        """Returns what a label means now.

        Args:
            label: a class name as it was written.
            at: when, in the order of the log (`ClassEvent.key`).
        """
        return self._meaning(label, bisect_right(self.events, at, key=lambda e: e.key))

    def meaning_since(self, label: str, event_id: str | None) -> Meaning:
        """Returns what a label means now that was a class right after an event, or before all events for None."""
        n = next((k + 1 for k, e in enumerate(self.events) if e.event_id == event_id), 0)
        return self._meaning(label, n)

    def former(self, name: str) -> Meaning | None:
        """Returns what became of a class that had this name; None if there is such a class, or never was one."""
        state = self._states[-1]
        return None if state.id_of(name) or name not in state.names else self._fate(state.names[name])

    def used_colors(self) -> set[int]:
        """Returns the colors that any class has, or had."""
        classes = (c for e in self.events if e.change for c in e.change.new)
        return {c.color for c in classes if c.color is not None}

    def _meaning(self, label: str, n: int) -> Meaning:
        if not self.events:
            return Meaning(label)
        if (n, label) not in self._meanings:
            class_id = self._states[max(n, 1)].names.get(label) or self._states[-1].names.get(label)
            self._meanings[n, label] = Meaning(label) if class_id is None else self._fate(class_id)
        return self._meanings[n, label]

    def _fate(self, class_id: str) -> Meaning:
        now = self._states[-1]
        while class_id not in now.live:
            if class_id in now.gone:
                return now.gone[class_id]
            following = now.merged.get(class_id) or self._parents.get(class_id)
            if following is None:
                reason = self._dissolved.get(class_id, "its class is no class of the project any more")
                return Meaning(None, reason, is_open=True)
            class_id = following
        return Meaning(now.live[class_id].name)

    def _state(self, events: Sequence[ClassEvent]) -> _State:
        state = _State()
        for e in _standing(events):
            if e.change is not None:
                state = self._apply(state, e.event_id, e.change)
        return state

    def _apply(self, state: _State, event_id: str, change: ClassChange) -> _State:
        """Returns the state after a change; what it names and the state lacks is left out."""
        match change.action:
            case Action.INITIAL if not state.live:
                return _with_new(state, "initial", change.new, len(state.live))[0]
            case Action.ADD:
                state, ids = _with_new(state, event_id, change.new, len(state.live))
                self._dissolved |= dict.fromkeys(ids, "its class was added, and that was undone")
            case Action.RENAME if (class_id := state.id_of(change.old[0])) and not state.id_of(change.new[0].name):
                live = {i: change.new[0] if i == class_id else c for i, c in state.live.items()}
                return _State(live, {**state.names, change.new[0].name: class_id}, state.merged, state.gone)
            case Action.MERGE:
                return self._merge(state, event_id, change)
            case Action.SPLIT if class_id := state.id_of(change.old[0]):
                reason = f"its class {change.old[0]} was split into {' and '.join(c.name for c in change.new)}"
                left, position = _without(state, [class_id])
                gone = {**left.gone, class_id: Meaning(None, reason, is_open=True)}
                left = _State(left.live, left.names, left.merged, gone)
                state, ids = _with_new(left, event_id, change.new, position)
                self._parents |= dict.fromkeys(ids, class_id)
            case Action.REMOVE if class_id := state.id_of(change.old[0]):
                left, _ = _without(state, [class_id])
                reason = f"its class {change.old[0]} was removed"
                return _State(left.live, left.names, left.merged, {**left.gone, class_id: Meaning(None, reason)})
            case Action.ORDER:
                first = [i for name in change.old if (i := state.id_of(name))]
                live = {i: state.live[i] for i in dict.fromkeys([*first, *state.live])}
                return _State(live, state.names, state.merged, state.gone)
        return state

    def _merge(self, state: _State, event_id: str, change: ClassChange) -> _State:
        ids = [i for name in change.old if (i := state.id_of(name))]
        if not ids or (change.new[0].name not in change.old and state.id_of(change.new[0].name)):
            return state
        left, position = _without(state, ids)
        left, new = _with_new(left, event_id, change.new, position)
        self._dissolved |= dict.fromkeys(new, f"it was labelled {change.new[0].name} while that was a merged class")
        return _State(left.live, left.names, {**left.merged, **dict.fromkeys(ids, new[0])}, left.gone)


def rows_of(history: ClassHistory) -> list[dict[str, Any]]:
    """Returns the events of a history as plain data."""
    return [
        {"event_id": e.event_id, "at": e.at.isoformat(), "ref": e.ref, "change": e.change and to_json(e.change)}
        for e in history.events
    ]


def history_from_rows(rows: Iterable[Mapping[str, Any]]) -> ClassHistory:
    """Returns the history of such rows.

    Raises:
        ValueError: they are no such rows.
    """
    try:
        return ClassHistory(
            ClassEvent(
                event_id=str(row["event_id"]),
                at=datetime.fromisoformat(row["at"]).astimezone(UTC),
                ref=row["ref"],
                change=from_json(row["change"]) if row["change"] else None,
            )
            for row in rows
        )
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"the class changes cannot be read ({error})") from error


def _standing(events: Sequence[ClassEvent]) -> list[ClassEvent]:
    """Returns the events that no later event retracts, except where that one is retracted itself."""
    retracted: set[str | None] = set()
    for e in reversed(events):
        if e.change is None and e.event_id not in retracted:
            retracted.add(e.ref)
    return [e for e in events if e.event_id not in retracted]


def _with_new(state: _State, prefix: str, new: Sequence[ProjectClass], position: int) -> tuple[_State, list[str]]:
    """Returns the state with the classes that it lacks at a position of the order, and their ids."""
    added = {f"{prefix}:{c.name}": c for c in new if not state.id_of(c.name)}
    before = list(state.live.items())
    live = dict([*before[:position], *added.items(), *before[position:]])
    names = {**state.names, **{c.name: i for i, c in added.items()}}
    return _State(live, names, state.merged, state.gone), list(added)


def _without(state: _State, ids: Sequence[str]) -> tuple[_State, int]:
    """Returns the state without some classes, and the position of the first of them."""
    position = min(list(state.live).index(i) for i in ids)
    live = {i: c for i, c in state.live.items() if i not in ids}
    return _State(live, state.names, state.merged, state.gone), position
