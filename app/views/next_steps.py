"""Links from a page to the one that comes next."""

from collections import Counter
from collections.abc import Sequence

import streamlit as st

from gradebook.app.context import PageContext
from gradebook.app.data_access import training_labels

MIN_LABELS_PER_CLASS = 5  # for a first run to be worthwhile


def links(context: PageContext, steps: Sequence[tuple[str, str]], **query: str) -> None:
    """Draws links side by side.

    Args:
        context: of the current page.
        steps: page and label of each link, such as ("train", "Train").
        query: parameters of the addresses, beside those of every address.
    """
    with st.container(horizontal=True):
        for name, label in steps:
            if name in context.pages:
                st.page_link(context.pages[name], label=f"{label} →", query_params={**context.query, **query})


def suggest_first_run(context: PageContext) -> None:
    """Draws a link to the page Train once there are enough labels for a first run."""
    if context.run is not None:
        return
    counts = Counter(training_labels(context.store).values())
    if all(counts[name] >= MIN_LABELS_PER_CLASS for name in context.store.project.classes):
        with st.container(horizontal=True, vertical_alignment="center"):
            text = f"Every class has at least {MIN_LABELS_PER_CLASS} labels: enough for a first run."
            st.caption(text, width="content")
            links(context, [("train", "Train")])
