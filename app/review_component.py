"""The board of the review page: what the browser is given of each image, and the component that draws it.

The browser holds the next images, so that a key shows the next one without asking the server. What stands on an image's
card is sent once: the browser tells which cards it has.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import streamlit as st

from gradebook.app import context as at
from gradebook.app.browser_components import component
from gradebook.app.context import Desk
from gradebook.app.review_actions import Deed, Refused
from gradebook.app.text import capital, who
from gradebook.pipelines.curation import nearest_labelled, queue_items
from gradebook.pipelines.curation.event_cache import EventCache
from gradebook.pipelines.curation.queue_items import Row
from gradebook.storage.events import Kind

LARGE, TILE, SMALL = 960, 224, 112  # pixels either way of an image alone, in the grid, beside another
NEAR = 5
WHY = 3  # reasons at most


def mount(key: str, data: Mapping[str, Any], *, on_said: Any) -> None:
    """Draws the board; `on_said` is called when the browser tells something, which stands in the session's `key`."""
    component("review_component")(key=key, data=dict(data), on_said_change=on_said)


def cards(
    desk: Desk, book: EventCache, rows: Sequence[Row], have: Collection[str], *, grid: bool
) -> list[dict[str, Any]]:
    """Returns the cards that the browser lacks, whole."""
    new = [row for row in rows if row.sample_id not in have]
    near = {} if grid else _near(desk, book, new)
    return [
        {
            "id": row.sample_id,
            "src": at.picture_address(desk, row, TILE if grid else LARGE),
            "name": Path(row.filepath).name,
            "label": row.label,
            "sure": row.probability,
            "given": row.given,
            "over": row.decision,
            "why": _why(row),
            "trail": None if grid else trail(at.read_history(desk, row.sample_id)),
            "near": near.get(row.sample_id, []),
        }
        for row in new
    ]


def answers(book: EventCache, ids: Collection[str], rows: Mapping[str, Row], actor: str) -> dict[str, dict[str, Any]]:
    """Returns what has been decided of these samples since they were shown: a label in question is no answer."""
    found = {i: e for i in ids if (e := book.decided.get(i)) is not None}
    return {
        i: {"label": e.label, "by": "you" if e.actor == actor else who(e.actor), "event": e.event_id}
        for i, e in found.items()
        if i not in rows or e.event_id != rows[i].decision
    }


def refusal(one: Refused) -> dict[str, str]:
    """Returns a verdict that was not written, and why, for the browser."""
    mine = "undo" if one.press.deed is Deed.UNDO else one.press.label or "no class"
    theirs = "undone it" if one.by.kind is Kind.RETRACTED else f"answered {one.by.label or 'no class'}"
    by = f"{who(one.by.actor)} had {theirs} already: your {mine} was not written."
    return {"id": one.press.sample_id, "press": one.press.press_id, "by": by}


def trail(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Returns a record as points (teacher's and student's probability, is the label the last one) and in words."""
    if not rows:
        return None
    said = [row["teacher_label"] or row["student_label"] for row in rows]
    network = "teacher" if rows[-1]["teacher_label"] is not None else "student"
    points = [
        [row["teacher_probability"], row["student_probability"], s == said[-1]]
        for row, s in zip(rows, said, strict=True)
    ]
    changes = sum(a != b for a, b in pairwise(said))
    others = [name for name in dict.fromkeys(reversed(said)) if name != said[-1]]
    words = f"The {network} said {said[-1]} at {said.count(said[-1])} of {len(said)} looks"
    words += f", and changed its mind {'once' if changes == 1 else f'{changes} times'}" if changes else ""
    words += f". Before: {others[0]}." if others and others[0] is not None else "."
    return {"points": points, "words": words}


def _why(row: Row) -> list[tuple[float, str]]:
    strongest = sorted(row.reasons.items(), key=lambda item: -item[1])[:WHY]
    return [(score, capital(queue_items.sentence_of(name))) for name, score in strongest if score > 0]


def _near(desk: Desk, book: EventCache, rows: Sequence[Row]) -> dict[str, list[dict[str, str | None]]]:
    """Returns for each row the labelled images most like it."""
    backbone = nearest_labelled.backbone_of(desk.store) if rows and book.decided else None
    if backbone is None:
        return {}
    looks, labels = _looks(desk.root, backbone), book.labels
    ids = [row.sample_id for row in rows]
    nearest_labelled.remember(desk.store, backbone, [*list(labels)[-nearest_labelled.COMPARED :], *ids], looks)
    samples = at.read_samples(desk.store)
    found = {i: [o for o, _ in nearest_labelled.most_like(i, labels, looks, NEAR) if o in samples] for i in ids}
    return {
        i: [{"src": at.picture_address(desk, samples[o], SMALL), "label": labels[o]} for o in others]
        for i, others in found.items()
    }


@st.cache_resource(max_entries=4, show_spinner=False)
def _looks(root: str, backbone: str) -> nearest_labelled.Looks:
    return {}
