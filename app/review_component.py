"""The review component: the data that the browser gets for each image, and the component that draws it.

The browser holds the next images, so a key shows the next one without a request to the server. Each card is sent once:
the browser reports which cards it has.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import streamlit as st

from gradebook.app.browser_components import component
from gradebook.app.context import PageContext
from gradebook.app.data_access import image_data_url, read_history, read_samples, unreadable_text
from gradebook.app.text import actor_name, capitalized, count
from gradebook.pipelines.curation import nearest_labelled, queue_items
from gradebook.pipelines.curation.event_cache import EventCache
from gradebook.pipelines.curation.queue_items import Row
from gradebook.pipelines.reporting.label_effect import label_effect
from gradebook.storage.store import Store

IMAGE_PX, TILE_PX, SIMILAR_PX = 960, 224, 112  # maximum width and height of an image
MAX_SIMILAR = 5
MAX_REASONS = 3


def mount(key: str, data: Mapping[str, Any], *, on_message: Any) -> None:
    """Draws the component. `on_message` is called after each message, which the session has under `key`."""
    component("review_component")(key=key, data=dict(data), on_message_change=on_message)


def cards(
    context: PageContext, events: EventCache, rows: Sequence[Row], cached: Collection[str], *, grid: bool
) -> list[dict[str, Any]]:
    """Returns the cards that the browser has not cached."""
    store, new = context.store, [row for row in rows if row.sample_id not in cached]
    similar = {} if grid else _similar_images(store, events, [row for row in new if not row.blind])
    sources = {row.sample_id: image_data_url(store.project, row, TILE_PX if grid else IMAGE_PX) for row in new}
    return [
        {
            "sample_id": row.sample_id,
            "src": sources[row.sample_id],
            "problem": unreadable_text(row) if sources[row.sample_id] is None else "",
            "name": Path(row.filepath).name,
            "label": row.label,
            "source": row.source,
            "heading": _heading(row),
            "probability": row.probability,
            "given": row.given,
            "expected": row.decision,
            "independent": row.independent,
            "reasons": _reasons(row),
            "history": None if grid or row.blind else _history(context, row),
            "similar": similar.get(row.sample_id, []),
        }
        for row in new
    ]


def _heading(row: Row) -> str:
    """Returns why a card has no prediction, although there may be one; empty if nothing is hidden."""
    if row.answers:
        return "Answers differ"
    return "No prediction is shown" if row.blind else ""


def _history(context: PageContext, row: Row) -> dict[str, Any] | None:
    return summarize_history(read_history(context.store, context.run, row.sample_id))


def new_decisions(
    events: EventCache, ids: Collection[str], rows: Mapping[str, Row], actor: str
) -> dict[str, dict[str, Any]]:
    """Returns the decisions about samples since they were shown, without the present labels that are being reviewed."""
    decided = {i: e for i in ids if (e := events.decided.get(i) or events.disputed.get(i)) is not None}
    return {
        i: {"label": e.label, "by": "you" if e.actor == actor else actor_name(e.actor), "event_id": e.event_id}
        for i, e in decided.items()
        if i not in rows or e.event_id != rows[i].decision
    }


def summarize_history(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Returns a record as points and in a sentence, None if it is empty.

    A point is the teacher's probability, the student's, and whether the class is the final one.
    """
    if not rows:
        return None
    labels = [row["teacher_label"] or row["student_label"] for row in rows]
    network, final = "teacher" if rows[-1]["teacher_label"] is not None else "student", labels[-1]
    points = [
        [row["teacher_probability"], row["student_probability"], label == final]
        for row, label in zip(rows, labels, strict=True)
    ]
    changes = sum(a != b for a, b in pairwise(labels))
    others = [name for name in dict.fromkeys(reversed(labels)) if name not in (final, None)]
    text = f"The {network} predicted {final} at {labels.count(final)} of {count(len(labels), 'checkpoint')}"
    text += f"; its prediction changed {'once' if changes == 1 else f'{changes} times'}" if changes else ""
    text += f". Previous prediction: {others[0]}." if others else "."
    return {"points": points, "text": " ".join(filter(None, [text, label_effect(rows)]))}


def _reasons(row: Row) -> list[tuple[float, str]]:
    """Returns the strongest reasons of a row, as score and sentence."""
    if row.answers:
        return [(1.0, f"Reviewers disagree. {queue_items.answers_text(row.answers)}")]
    strongest = sorted(row.reasons.items(), key=lambda item: -item[1])[:MAX_REASONS]
    return [(score, capitalized(queue_items.reason_text(row, name))) for name, score in strongest if score > 0]


def _similar_images(store: Store, events: EventCache, rows: Sequence[Row]) -> dict[str, list[dict[str, str | None]]]:
    """Returns the labelled images most similar to each row: sample_id -> images."""
    backbone = nearest_labelled.backbone_of(store) if rows and events.decided else None
    if backbone is None:
        return {}
    vectors, labels, samples = _vector_cache(str(store.project.root), backbone), events.labels, read_samples(store)
    ids = [row.sample_id for row in rows]
    nearest_labelled.add_vectors(store, backbone, [*list(labels)[-nearest_labelled.MAX_COMPARED :], *ids], vectors)
    nearest = {i: nearest_labelled.most_similar(i, labels, vectors, MAX_SIMILAR) for i in ids}
    return {
        i: [
            {"src": image_data_url(store.project, samples[other], SIMILAR_PX), "label": labels[other]}
            for other, _ in neighbours
            if other in samples
        ]
        for i, neighbours in nearest.items()
    }


@st.cache_resource(max_entries=4, show_spinner=False)
def _vector_cache(root: str, backbone: str) -> nearest_labelled.UnitVectors:
    return {}
