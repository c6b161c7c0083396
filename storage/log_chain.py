"""A hash chain over the event log, in a file next to its table, that shows whether events were lost or changed.

Each hash covers an event and the previous hash, so the number of events and the last hash identify the whole log. If
the log has become shorter, the lost state is saved and a new chain begins, so the loss stays visible after later
appends.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC
from hashlib import blake2b
from itertools import islice
from pathlib import Path

from gradebook.storage.events import Event
from gradebook.storage.files import write_json

FILE = "events.chain.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A state of the log: its first `events` events, in the order in which they were appended."""

    events: int = 0
    digest: str = ""  # hash of the last of them, which covers all

    def extended(self, events: Iterable[Event]) -> "Link":
        """Returns the state after these events were appended."""
        number, digest = self.events, self.digest
        for event in events:
            number, digest = number + 1, blake2b(f"{digest} {_text(event)}".encode(), digest_size=16).hexdigest()
        return Link(events=number, digest=digest)


def read(directory: Path) -> list[Link]:
    """Returns the saved states: the longer ones that were lost, then the newest; [] if there is none."""
    try:
        links = json.loads((directory / FILE).read_text(encoding="utf-8"))
        return [Link(events=int(link["events"]), digest=str(link["digest"])) for link in links]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def extend(directory: Path, before: int, added: Sequence[Event], read_log: Callable[[], list[Event]]) -> None:
    """Adds events that were appended to the log. The next append makes up for a write that fails.

    Args:
        directory: of the chain's file.
        before: number of events in the log before the append.
        added: the appended events.
        read_log: returns the log; called only if the chain does not cover the first `before` events.
    """
    *lost, last = read(directory) or [Link()]
    if last.events != before:
        if last.events > before:
            lost.append(last)
        last = Link().extended(islice(read_log(), before))
    with suppress(OSError):
        write_json(directory / FILE, [asdict(link) for link in (*lost, last.extended(added))])


def missing(directory: Path, events: int) -> int:
    """Returns how many events a log that has `events` of them lacks at least."""
    return max([0, *(link.events - events for link in read(directory))])


def unmatched(links: Iterable[Link], log: Sequence[Event]) -> list[Link]:
    """Returns the states that the log does not start with, because events are missing or have changed."""
    actual = {}
    state = Link()
    for link in sorted(links, key=lambda link: link.events):
        state = state.extended(log[state.events : link.events])
        actual[link] = state
    return [link for link, state in actual.items() if state != link]


def _text(event: Event) -> str:
    """Returns an event as text, the same before it is written and after it is read."""
    confidence = None if event.confidence is None else float(event.confidence)
    reasons = sorted((name, float(score)) for name, score in event.reasons.items())
    at = event.at.astimezone(UTC).isoformat()
    values = (event.event_id, at, event.actor, event.kind.value, event.sample_id, event.label, confidence, event.ref)
    return ascii((*values, reasons))
