"""The event log: events are appended and read, never changed.

`append_now` adds new events with times after all times in the log, so the order of times is the order of writing
whatever the clocks show. `append` adds events with the times they have, such as copies from another log.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from gradebook.storage import log_chain
from gradebook.storage.events import Event, Kind, sequenced
from gradebook.storage.lance_tables import Tables


class EventLog(Protocol):
    """The interface of logs. Appending an event twice is harmless, because its readers ignore repeats."""

    def append(self, events: Sequence[Event]) -> None:
        """Adds all events with the times that they have, or none if it fails or is killed.

        Raises:
            ValueError: an event's time has no time zone.
        """

    def append_now(self, events: Sequence[Event]) -> list[Event]:
        """Adds new events, all or none, each later than all events before it; returns them with their times.

        An event keeps its time if that is later; otherwise it gets the previous event's time plus a microsecond.

        Raises:
            ValueError: an event's time has no time zone.
        """

    def read(self, after: int = 0) -> list[Event]:
        """Returns the events after the first `after` in the order in which they were appended, with times in UTC."""

    def count(self) -> int:
        """Returns the number of events, repeats included."""

    def version(self) -> int:
        """Returns a number that grows with every append of any process; cheap to call."""


class MemoryLog:
    """A log in memory."""

    def __init__(self) -> None:
        self._events: list[Event] = []

    def append(self, events: Sequence[Event]) -> None:
        """See `EventLog.append`."""
        _check(events)
        self._events = [*self._events, *events]

    def append_now(self, events: Sequence[Event]) -> list[Event]:
        """See `EventLog.append_now`."""
        _check(events)
        rows = sequenced(events, max((e.at for e in self._events), default=None))
        self._events = [*self._events, *rows]
        return rows

    def read(self, after: int = 0) -> list[Event]:
        """See `EventLog.read`."""
        return self._events[after:]

    def count(self) -> int:
        """See `EventLog.count`."""
        return len(self._events)

    def version(self) -> int:
        """See `EventLog.version`."""
        return len(self._events)


class LanceLog:
    """A log in the LanceDB table `events`."""

    def __init__(self, directory: Path, address: str = ""):
        self._tables = Tables(directory, address)
        self._newest: tuple[int, datetime | None] = 0, None  # a number of rows, and the latest time among them

    def append(self, events: Sequence[Event]) -> None:
        """See `EventLog.append`."""
        _check(events)
        if not events:
            return
        with self._tables.write_lock():
            self._add(events)

    def append_now(self, events: Sequence[Event]) -> list[Event]:
        """See `EventLog.append_now`."""
        _check(events)
        if not events:
            return []
        with self._tables.write_lock():
            rows = sequenced(events, self._latest(self.count()))
            self._add(rows)
        return rows

    def read(self, after: int = 0) -> list[Event]:
        """See `EventLog.read`."""
        names = _schema().names
        rows = self._tables.read("events", names, after=after)
        if rows is None:
            return []
        rows = rows.set_column(names.index("at"), "at", rows.column("at").cast("int64"))  # exact, and faster
        return [_event(*row) for row in zip(*(rows.column(name).to_pylist() for name in names), strict=True)]

    def count(self) -> int:
        """See `EventLog.count`."""
        table = self._tables.open("events")
        return 0 if table is None else int(table.count_rows())

    def version(self) -> int:
        """See `EventLog.version`."""
        table = self._tables.open("events")
        return 0 if table is None else int(table.version)

    def _add(self, events: Sequence[Event]) -> None:
        with self._tables.open_for_writing("events", _schema()) as table:
            before = table.count_rows()
            table.add(_table(events))
        log_chain.extend(self._tables.directory, before, events, self.read)

    def _latest(self, rows: int) -> datetime | None:
        """Returns the latest time in a log with this number of rows; reads only the rows added since the last call."""
        known, newest = self._newest if self._newest[0] <= rows else (0, None)  # fewer rows: another log
        if known < rows:
            import pyarrow.compute as pc

            times = self._tables.read("events", ["at"], after=known)
            assert times is not None
            latest = _EPOCH + timedelta(microseconds=pc.max(times.column("at").cast("int64")).as_py())
            newest = latest if newest is None else max(latest, newest)
        self._newest = rows, newest
        return newest


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _check(events: Sequence[Event]) -> None:
    for event in events:
        if event.at.tzinfo is None:
            raise ValueError(f"event {event.event_id} has the time {event.at} without a time zone: give it in UTC")


def _table(events: Sequence[Event]) -> Any:
    """Returns the events as a `pyarrow.Table`."""
    import pyarrow as pa

    columns: dict[str, list[Any]] = {name: [getattr(event, name) for event in events] for name in _schema().names}
    columns["kind"] = [event.kind.value for event in events]
    columns["reasons"] = [[{"reason": name, "score": score} for name, score in e.reasons.items()] for e in events]
    return pa.Table.from_pydict(columns, _schema())


def _event(  # noqa: PLR0913  # columns of the log
    event_id: str,
    at: int,
    actor: str,
    kind: str,
    sample_id: str,
    label: str | None,
    confidence: float | None,
    reasons: list[dict[str, Any]],
    ref: str | None,
) -> Event:
    return Event(
        event_id=event_id,
        at=_EPOCH + timedelta(microseconds=at),
        actor=actor,
        kind=Kind(kind),
        sample_id=sample_id,
        label=label,
        confidence=confidence,
        reasons={row["reason"]: row["score"] for row in reasons},
        ref=ref,
    )


def _schema() -> Any:
    import pyarrow as pa

    return pa.schema(
        {
            "event_id": pa.string(),
            "at": pa.timestamp("us", tz="UTC"),
            "actor": pa.string(),
            "kind": pa.string(),
            "sample_id": pa.string(),
            "label": pa.string(),
            "confidence": pa.float64(),
            "reasons": pa.list_(pa.struct({"reason": pa.string(), "score": pa.float64()})),
            "ref": pa.string(),
        }
    )
