"""Links on the page Review to images that are labelled without a prediction: the drawn test images, and an audit's."""

from collections.abc import Sequence

import streamlit as st

from gradebook.app.context import PageContext
from gradebook.app.data_access import read_events
from gradebook.app.text import count
from gradebook.pipelines.curation import holdout
from gradebook.pipelines.curation.audit_files import open_audit
from gradebook.pipelines.curation.selections import save_selection

AUDIT = "of an audit; no prediction is shown"
TEST_SET = "drawn for testing; no prediction is shown"


def draw(context: PageContext) -> None:
    """Draws a link for each queue that has images, unless the page shows a selection."""
    if "selection" in st.query_params:
        return
    store, decided = context.store, read_events(context.store).decided
    waiting = holdout.to_label(store, decided)
    if waiting:
        draw_link(context, waiting, f"{count(len(waiting), 'test image')} to label, without a prediction", TEST_SET)
    audit = open_audit(store.project)
    waiting = [i for i in audit.drawn if i not in decided] if audit is not None else []
    if waiting:
        draw_link(
            context, waiting, f"{count(len(waiting), 'image')} of an audit to answer, without a prediction", AUDIT
        )


def draw_link(context: PageContext, sample_ids: Sequence[str], text: str, why: str) -> None:
    """Draws a text, and a button that opens a queue of these images on the page Review."""
    with st.container(horizontal=True, vertical_alignment="center", border=True):
        st.markdown(text, width="stretch")
        if st.button("Label them", key=f"label-{why}", icon=":material/visibility_off:"):
            selection = save_selection(context.store.project, list(sample_ids), why)
            st.switch_page(context.pages["review"], query_params={**context.query, "selection": selection})
