"""The controls of the review page: layout, reason, and a filter on predictions."""

from dataclasses import dataclass
from typing import Literal

import streamlit as st

from gradebook.app.context import PageContext
from gradebook.app.text import capitalized, count, plain
from gradebook.pipelines.curation import queue_items
from gradebook.pipelines.curation.queue_items import PredictionFilter

ANY = "any"
SINGLE, GRID = "Single", "Grid"
BIND: Literal["query-params"] = "query-params"  # the address has the choices, so that they survive a reload
FULL_RANGE = (0, 100)  # percent
GRID_SIZES = (24, 60, 120, 200)  # images


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewFilters:
    """The reviewer's choices."""

    project: str
    run: str | None
    selection: str | None  # id of a selection
    grid: bool  # whether to show many images at once
    size: int  # of the grid
    reason: str | None  # the reason to order by; None for the default order
    only: PredictionFilter | None  # the predictions to show; None for all


def ask(context: PageContext) -> ReviewFilters:
    """Draws the controls and returns the choices."""
    with st.container(horizontal=True, vertical_alignment="bottom", key="review-filters"):
        layout = st.segmented_control("Layout", (SINGLE, GRID), default=SINGLE, required=True, key="layout", bind=BIND)
        size = GRID_SIZES[0]
        if layout == GRID:
            size = st.segmented_control("Images", GRID_SIZES, default=size, required=True, key="size", bind=BIND)
        known = queue_items.sentences() | queue_items.QUALITY
        sentences = {name: capitalized(sentence) for name, sentence in known.items()}
        reasons, key = {ANY: "Most uncertain", **sentences}, _key("reason")
        reason = st.selectbox("Order by", list(reasons), format_func=reasons.__getitem__, key=key, width=360, bind=BIND)
        only = _ask_predictions(context.store.project.classes) if context.run is not None else None
    return ReviewFilters(
        project=str(context.store.project.root),
        run=context.run.name if context.run else None,
        selection=st.query_params.get("selection"),
        grid=layout == GRID,
        size=size,
        reason=None if reason == ANY else reason,
        only=only,
    )


def _ask_predictions(classes: tuple[str, ...]) -> PredictionFilter | None:
    """Draws the filter on predictions and returns it, None for all predictions."""
    class_key, range_key = _key("class"), _key("sure")
    before = st.session_state.get(class_key), st.session_state.get(range_key, FULL_RANGE)
    label, (low, high) = before
    text = "All predictions" if before == (None, FULL_RANGE) else f"{plain(label or 'Any class')}, {low} to {high}%"
    with st.popover(text, icon=":material/filter_alt:"):
        label = st.selectbox("Predicted class", classes, index=None, placeholder="Any class", key=class_key, bind=BIND)
        low, high = st.slider("Probability, %", 0, 100, FULL_RANGE, key=range_key, bind=BIND)
    if (label, (low, high)) != before:  # they came from the address, after the popover had got its name
        st.rerun()
    return (
        None
        if before == (None, FULL_RANGE)
        else PredictionFilter(label=label, min_probability=low / 100, max_probability=high / 100)
    )


def _key(name: str) -> str:
    """Returns the name of a choice in the address. A selection has its own, so that no filter hides its images."""
    selection = st.query_params.get("selection")
    return name if selection is None else f"{name}-of-{selection}"


def empty_text(filters: ReviewFilters, skipped: int) -> str:
    """Returns why there are no images to show; `skipped` is how many the reviewer skipped."""
    if skipped:
        return f"All that is left are {count(skipped, 'image')} that you skipped."
    if filters.selection is not None:
        return "All images of this selection have been reviewed."
    if filters.reason is None and filters.only is None:
        return "All training images have been reviewed, or are on another reviewer's screen."
    return "No image matches these filters: choose others."
