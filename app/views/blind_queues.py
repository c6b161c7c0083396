"""Links on the page Review to images that are labelled without a prediction: the drawn test images, and an audit's."""

import streamlit as st

from gradebook.app.context import PageContext
from gradebook.app.data_access import read_events
from gradebook.app.text import count
from gradebook.pipelines.curation import holdout
from gradebook.pipelines.curation.selections import save_selection

TEST_SET = "drawn for testing; no prediction is shown"


def draw(context: PageContext) -> None:
    """Draws a link for each queue that has images, unless the page shows a selection."""
    if "selection" in st.query_params:
        return
    store = context.store
    waiting = holdout.to_label(store, read_events(store).decided)
    if waiting:
        _draw_link(context, waiting, f"{count(len(waiting), 'test image')} to label, without a prediction", TEST_SET)


def _draw_link(context: PageContext, sample_ids: list[str], text: str, why: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center", border=True):
        st.markdown(text, width="stretch")
        if st.button("Label them", key=f"label-{why}", icon=":material/visibility_off:"):
            selection = save_selection(context.store.project, sample_ids, why)
            st.switch_page(context.pages["review"], query_params={**context.query, "selection": selection})
