"""Text for the pages: numbers, times and names in English, and text of other users shown as it is (`plain`)."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from gradebook.storage.events import Event, Kind

VERBS = {
    Kind.PROPOSED: "proposed",
    Kind.ACCEPTED: "accepted",
    Kind.RELABELLED: "labelled",
    Kind.REJECTED: "rejected",
    Kind.RETRACTED: "earlier entry undone",
    Kind.IMPORTED: "imported",
}
IMPORT = "import"  # the actor of every imported label
UNITS = (("day", 86400), ("hour", 3600), ("minute", 60))  # in seconds


def plain(text: str) -> str:
    """Returns Markdown that renders as `text` itself, on one line: no emphasis, link, formula, colour or emoji."""
    one_line = re.sub(r"\s+", " ", "".join(c if c.isprintable() else " " for c in text)).strip()
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", one_line)


def actor_name(actor: str) -> str:
    """Returns an actor as a sentence names it: `run:mpl-001` becomes `run mpl-001`."""
    return actor.replace(":", " ", 1) if actor.startswith(("run:", "audit:")) else actor


def describe_event(event: Event) -> str:
    """Returns an event without its time, such as `heron, accepted by ada`."""
    verb = VERBS[event.kind] if event.actor == IMPORT else f"{VERBS[event.kind]} by {actor_name(event.actor)}"
    return f"{event.label}, {verb}" if event.label is not None else verb


def percent(share: float | None) -> str:
    """Returns a share in whole percent, or a dash if it is unknown."""
    return "–" if share is None else f"{share:.0%}"


def count(number: int, singular: str, plural: str | None = None) -> str:
    """Returns a number with its noun: 1 sample, 2,000 samples."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def ago(time: datetime | str) -> str:
    """Returns how long ago a time was, in its largest unit. `time` has a time zone, or is ISO 8601 text with one."""
    then = datetime.fromisoformat(time) if isinstance(time, str) else time
    seconds = int((datetime.now(UTC) - then).total_seconds())
    for unit, length in UNITS:
        if seconds >= length:
            return f"{count(seconds // length, unit)} ago"
    return "just now"


def duration(seconds: float) -> str:
    """Returns a duration in its largest unit: 40 seconds, 3 minutes, 2 hours."""
    for unit, length in UNITS:
        if seconds >= length:
            return count(round(seconds / length), unit)
    return count(max(1, round(seconds)), "second")


def join_names(names: Sequence[str]) -> str:
    """Returns names as a sentence lists them: a, b and c."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def shorten(text: str, max_chars: int = 32) -> str:
    """Returns the text, cut to `max_chars` characters with an ellipsis if it is longer."""
    return text if len(text) <= max_chars else f"{text[: max_chars - 1].rstrip()}…"


def as_sentence(text: str) -> str:
    """Returns a clause with a capital letter and a full stop; empty text stays empty."""
    return capitalized(text if not text or text[-1] in ".!?" else f"{text}.")


def capitalized(text: str) -> str:
    """Returns the text with its first letter in upper case, the others unchanged."""
    return text[:1].upper() + text[1:]
