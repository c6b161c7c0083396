"""Reviewing without a page: the keys, what presses become in the log, and how the sitting goes."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from gradebook.app.context import Desk, write_verdicts
from gradebook.pipelines.curation.event_cache import EventCache
from gradebook.pipelines.curation.labelling import Choice, Item, Undo
from gradebook.pipelines.curation.queue_items import Row
from gradebook.pipelines.curation.verdicts import Shown
from gradebook.storage.events import VERDICTS, Event, Kind
from gradebook.storage.project import ProjectError

DIGITS = "0123456789"
LETTERS = "abdefgijmnopqtvwyz"  # the others are the page's: H K L S U X, and Streamlit's: C R
PAUSE = timedelta(minutes=10)  # after which a sitting is over
ID = re.compile(r"[0-9a-f]{32}")


def class_keys(classes: Sequence[str]) -> dict[str, str]:
    """Returns the keyboard's key of each class: key -> class. Classes that no key is left for are typed.

    Where every class is named by a digit, that digit is its key; else the first nine have 1 to 9, the next letters.
    """
    if all(len(name) == 1 and name in DIGITS for name in classes):
        return {name: name for name in classes}
    return dict(zip(DIGITS[1:] + LETTERS, classes, strict=False))


class Deed(StrEnum):
    """What a reviewer does."""

    LABEL = "label"
    REJECT = "reject"  # no class applies
    UNDO = "undo"
    SKIP = "skip"
    MORE = "more"  # other images, please
    ALIKE = "alike"  # those most like this one next
    RECORD = "record"  # show me its record
    HERE = "here"  # somebody is still looking


@dataclass(frozen=True, slots=True, kw_only=True)
class Press:
    """One deed of a reviewer, as the browser tells it."""

    press_id: str  # 32 hexadecimal digits, drawn by the browser; becomes the id of the event that it writes
    deed: Deed
    sample_id: str = ""
    label: str | None = None
    over: str | None = None  # the event that decided the sample on the screen; of an undo the one to take back


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A verdict that was not written: another's came first, which had not been on the screen."""

    press: Press
    by: Event  # that one


@dataclass(frozen=True, slots=True, kw_only=True)
class Sitting:
    """What somebody has done since they sat down."""

    given: int  # verdicts that stand
    guessed: int  # of these, answers to a guess
    agreed: int  # of these, the guess was right
    a_minute: float | None  # verdicts; None for fewer than two


def presses(said: Any) -> list[Press]:
    """Returns what a browser told; what is no press is left out, for it was not we who wrote it."""
    found = []
    for one in said if isinstance(said, list) else []:
        try:
            press = Press(
                press_id=one["press"],
                deed=Deed(one["deed"]),
                sample_id=str(one.get("id") or ""),
                label=one.get("label"),
                over=one.get("over"),
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            continue
        if isinstance(press.press_id, str) and ID.fullmatch(press.press_id):
            found.append(press)
    return found


def answer(desk: Desk, said: Sequence[Press], rows: Mapping[str, Row]) -> tuple[list[Refused], dict[str, str]]:
    """Writes what presses amount to; those that are in the log already are passed over, so that none counts twice.

    Args:
        desk: the open project, and who reviews.
        said: presses in order.
        rows: what was on the screen, by sample id.

    Returns:
        The verdicts that were refused, and of each undo the sample it was about: press id -> sample id.
    """
    items = [item for press in said if (item := _item(desk, press, rows)) is not None]
    if not items:
        return [], {}
    outcome, by_id = write_verdicts(desk, items), {press.press_id: press for press in said}
    refused = [Refused(press=by_id[c.item.event_id], by=c.by) for c in outcome.conflicts if c.by is not None]
    return refused, {e.event_id: e.sample_id for e in outcome.taken if e.kind is Kind.RETRACTED}


def sitting(book: EventCache, actor: str, *, now: datetime | None = None) -> Sitting:
    """Returns what an actor has done since their last long pause."""
    mine = sorted((e for e in book.decided.values() if e.actor == actor and e.kind in VERDICTS), key=lambda e: e.at)
    first, later = len(mine), now or datetime.now(UTC)
    while first and later - mine[first - 1].at < PAUSE:
        first, later = first - 1, mine[first - 1].at
    since = mine[first:]
    guessed = [e for e in since if e.ref is not None]
    minutes = (since[-1].at - since[0].at).total_seconds() / 60 if since else 0.0
    return Sitting(
        given=len(since),
        guessed=len(guessed),
        agreed=sum(e.kind is Kind.ACCEPTED for e in guessed),
        a_minute=(len(since) - 1) / minutes if minutes > 0 else None,
    )


def _item(desk: Desk, press: Press, rows: Mapping[str, Row]) -> Item | None:
    """Returns the verdict or undo that a press amounts to, None where it is neither or names what there is not."""
    if press.deed is Deed.UNDO:
        return Undo(ref=press.over, expected=press.over, event_id=press.press_id)
    if press.deed not in (Deed.LABEL, Deed.REJECT) or not _is_possible(desk, press, rows):
        return None
    row = rows.get(press.sample_id)
    return Choice(
        shown=Shown(sample_id=press.sample_id) if row is None else shown_of(row, desk),
        label=press.label if press.deed is Deed.LABEL else None,
        expected=press.over,
        event_id=press.press_id,
    )


def _is_possible(desk: Desk, press: Press, rows: Mapping[str, Row]) -> bool:
    if press.deed is Deed.LABEL and press.label not in desk.store.project.classes:
        return False
    try:
        return press.sample_id in rows or bool(desk.store.catalog.get([press.sample_id]))
    except ProjectError:
        return False


def shown_of(row: Row, desk: Desk) -> Shown:
    """Returns what was on the screen, for the log."""
    return Shown(
        sample_id=row.sample_id,
        label=row.label,
        probability=row.probability,
        reasons=row.reasons,
        run=desk.run.name if desk.run else None,
        proposal=row.proposal,
    )
