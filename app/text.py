"""Text for people. Labels, file names and settings are other people's text: `plain` shows them as they are."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from gradebook.storage.events import Event, Kind

DEEDS = {
    Kind.PROPOSED: "guessed",
    Kind.ACCEPTED: "accepted",
    Kind.RELABELLED: "chosen",
    Kind.REJECTED: "rejected",
    Kind.RETRACTED: "an earlier entry taken back",
    Kind.IMPORTED: "read",
}


def plain(text: str) -> str:
    """Returns Markdown that shows `text` itself: no emphasis, link, image, formula, colour or emoji comes of it."""
    one_line = re.sub(r"\s+", " ", "".join(c if c.isprintable() else " " for c in text)).strip()
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", one_line)


def who(actor: str) -> str:
    """Returns an actor's name as a sentence has it: `run:mpl-001` is run mpl-001."""
    return actor.replace("run:", "run ", 1) if actor.startswith("run:") else actor


def deed(event: Event) -> str:
    """Returns what an event says, without its time: `heron, accepted by ada`."""
    done = f"{DEEDS[event.kind]} by {who(event.actor)}"
    return f"{event.label}, {done}" if event.label is not None else done


def percent(value: float | None) -> str:
    """Returns a share in whole percent, or a dash where nothing is known."""
    return "–" if value is None else f"{value:.0%}"


def count(number: int, one: str, many: str | None = None) -> str:
    """Returns a number with its noun: 1 sample, 2,000 samples."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def ago(moment: datetime | str) -> str:
    """Returns how long ago a time (a `datetime` with zone or ISO 8601) was, in the largest fitting unit."""
    then = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    seconds = int((datetime.now(UTC) - then).total_seconds())
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            return f"{count(seconds // length, unit)} ago"
    return "just now"


def lasting(seconds: float) -> str:
    """Returns a time in its largest fitting unit: 40 seconds, 3 minutes, 2 hours."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            return count(round(seconds / length), unit)
    return count(max(1, round(seconds)), "second")


def listed(names: Sequence[str]) -> str:
    """Returns names as a sentence lists them: a, b and c."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def shortened(text: str, most: int = 32) -> str:
    """Returns a name that a sentence has room for: so many characters at most."""
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def sentence(text: str) -> str:
    """Returns a clause with a capital at its beginning and a full stop at its end; nothing stays nothing."""
    ended = text if not text or text[-1] in ".!?" else f"{text}."
    return capital(ended)


def capital(text: str) -> str:
    """Returns the text with a capital at its beginning."""
    return text[:1].upper() + text[1:]
