"""A hash chain over the event log, in a file beside the table, which shows whether events were lost or changed.

Each event's hash covers the one before it, so that the number of events and the last hash stand for the whole log. A
log that got shorter is noted and the chain starts over: what was lost stays known, whatever is appended afterwards.
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
    digest: str = ""  # of the last of them, which covers all

    def extended(self, events: Iterable[Event]) -> "Link":
        """Returns the state after these events were appended."""
        number, digest = self.events, self.digest
        for event in events:
            number, digest = number + 1, blake2b(f"{digest} {_text(event)}".encode(), digest_size=16).hexdigest()
        return Link(events=number, digest=digest)


def read(directory: Path) -> list[Link]:
    """Returns the newest state that was noted, after the longer ones that were lost before; [] if there is none."""
    try:
        links = json.loads((directory / FILE).read_text(encoding="utf-8"))
        return [Link(events=int(link["events"]), digest=str(link["digest"])) for link in links]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def note(directory: Path, before: int, added: Sequence[Event], read_log: Callable[[], list[Event]]) -> None:
    """Notes events that were appended to the log. A write that fails is made up for at the next append.

    Args:
        directory: of the chain's file.
        before: how many events the log had.
        added: the events that follow these.
        read_log: returns the log; it is called where the chain does not cover the first `before` events.
    """
    *lost, last = read(directory) or [Link()]
    if last.events != before:
        if last.events > before:
            lost.append(last)
        last = Link().extended(islice(read_log(), before))
    with suppress(OSError):
        write_json(directory / FILE, [asdict(link) for link in (*lost, last.extended(added))])


def unmatched(links: Iterable[Link], log: Sequence[Event]) -> list[Link]:
    """Returns the states that the log does not begin with: events are missing, or are not those that were written."""
    found = {}
    state = Link()
    for link in sorted(links, key=lambda link: link.events):
        state = state.extended(log[state.events : link.events])
        found[link] = state
    return [link for link, state in found.items() if state != link]


def _text(event: Event) -> str:
    """Returns what an event says, the same before it was written and after it was read."""
    confidence = None if event.confidence is None else float(event.confidence)
    reasons = sorted((name, float(score)) for name, score in event.reasons.items())
    at = event.at.astimezone(UTC).isoformat()
    values = (event.event_id, at, event.actor, event.kind.value, event.sample_id, event.label, confidence, event.ref)
    return ascii((*values, reasons))
