"""What a reviewer asks the review page for: how many images at once, for which reason, and of which guesses."""

from dataclasses import dataclass
from typing import Literal

import streamlit as st

from gradebook.app.context import Desk
from gradebook.app.text import capital, plain
from gradebook.pipelines.curation import queue_items
from gradebook.pipelines.curation.queue_items import Only

ANY = "any"
ALONE, GRID = "One by one", "Grid"
BIND: Literal["query-params"] = "query-params"  # choices stand in the address, and come back with the page
EVERY = (0, 100)  # percent
SIZES = (24, 60, 120, 200)  # images of a grid


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What is asked for."""

    project: str
    run: str | None
    selection: str | None  # samples that were chosen together
    grid: bool  # many images at once
    size: int  # how many
    reason: str | None  # the reason in whose order they come; None for the blend
    only: Only | None  # the guesses that count; None for all


def ask(desk: Desk) -> Choices:
    """Draws the choices and returns them."""
    with st.container(horizontal=True, vertical_alignment="bottom", key="review-choices"):
        layout = st.segmented_control("Show", (ALONE, GRID), default=ALONE, required=True, key="layout", bind=BIND)
        size = SIZES[0]
        if layout == GRID:
            size = st.segmented_control("Images", SIZES, default=SIZES[0], required=True, key="size", bind=BIND)
        sentences = {name: capital(sentence) for name, sentence in queue_items.sentences().items()}
        reasons = {ANY: "Whatever is most doubtful", **sentences}
        reason = st.selectbox(
            "Look for", list(reasons), format_func=reasons.__getitem__, key=_key("reason"), width=360, bind=BIND
        )
        only = _filters(desk) if desk.run is not None else None
    return Choices(
        project=desk.root,
        run=desk.run.name if desk.run else None,
        selection=st.query_params.get("selection"),
        grid=layout == GRID,
        size=size,
        reason=None if reason == ANY else reason,
        only=only,
    )


def _filters(desk: Desk) -> Only | None:
    """Draws the choice of guesses, and returns it; None for all of them."""
    of_class, sure = _key("class"), _key("sure")
    before = st.session_state.get(of_class), st.session_state.get(sure, EVERY)
    label, (least, most) = before
    words = "Any guess" if before == (None, EVERY) else f"{plain(label or 'Any class')}, {least} to {most} %"
    with st.popover(words, icon=":material/filter_alt:"):
        classes = desk.store.project.classes
        label = st.selectbox("Guessed to be", classes, index=None, placeholder="Any class", key=of_class, bind=BIND)
        least, most = st.slider("How sure, %", 0, 100, EVERY, key=sure, bind=BIND)
    if (label, (least, most)) != before:  # the address has told them now: the popover had its name before
        st.rerun()
    return None if before == (None, EVERY) else Only(label=label, least=least / 100, most=most / 100)


def _key(name: str) -> str:
    """Returns a choice's name in the address: a selection has choices of its own, so that none hides its images."""
    selection = st.query_params.get("selection")
    return name if selection is None else f"{name}-of-{selection}"
