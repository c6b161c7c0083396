"""The way from a page whose work is done to the one that comes next."""

from collections import Counter
from collections.abc import Sequence

import streamlit as st

from gradebook.app.context import Desk, read_training_labels
from gradebook.pipelines.curation.event_cache import EventCache

ENOUGH = 5  # labels a class with which a first run is worth its time


def links(desk: Desk, ways: Sequence[tuple[str, str]], **query: str) -> None:
    """Draws links beside each other.

    Args:
        desk: the open project.
        ways: pages and what to call the way there, such as: ("train", "Train").
        query: what their addresses hold beside what every address does.
    """
    with st.container(horizontal=True):
        for name, text in ways:
            if name in desk.pages:
                st.page_link(desk.pages[name], label=f"{text} →", query_params={**desk.query, **query})


def to_the_first_run(desk: Desk, book: EventCache) -> None:
    """Leads from labelling to training once there are labels enough for a first run."""
    if desk.run is not None:
        return
    times = Counter(read_training_labels(desk.store, book).values())
    if all(times[name] >= ENOUGH for name in desk.store.project.classes):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(f"Every class has {ENOUGH} labels or more: enough for a first run.", width="content")
            links(desk, [("train", "Train")])
