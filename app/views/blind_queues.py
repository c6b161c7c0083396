"""Links on the page Review to further queues: test images, audits, further answers, and answers that differ.

Only the last one shows what others have answered; none shows a prediction.
"""

from collections.abc import Sequence

import streamlit as st

from gradebook.app.context import PageContext
from gradebook.app.data_access import read_events
from gradebook.app.text import count
from gradebook.pipelines.curation import holdout
from gradebook.pipelines.curation.audit_files import open_audit
from gradebook.pipelines.curation.second_answers import ASKED_AGAIN, to_answer
from gradebook.pipelines.curation.selections import save_selection

AUDIT = "of an audit; no prediction is shown"
TEST_SET = "drawn for testing; no prediction is shown"
DISPUTED = "that reviewers answered differently"


def draw(context: PageContext) -> None:
    """Draws a link for each queue that has images, unless the page shows a selection."""
    if "selection" in st.query_params:
        return
    store, events = context.store, read_events(context.store)
    decided = events.decided
    waiting = holdout.to_label(store, decided)
    if waiting:
        draw_link(context, waiting, f"{count(len(waiting), 'test image')} to label, without a prediction", TEST_SET)
    audit = open_audit(store.project)
    waiting = [i for i in audit.drawn if i not in decided] if audit is not None else []
    if waiting:
        draw_link(
            context, waiting, f"{count(len(waiting), 'image')} of an audit to answer, without a prediction", AUDIT
        )
    waiting = to_answer(events.events, context.actor, store.project.answers)
    if waiting:
        draw_link(
            context,
            waiting,
            f"{count(len(waiting), 'image')} for another answer, without sight of the first",
            ASKED_AGAIN,
        )
    if events.disputed:
        text = f"{count(len(events.disputed), 'image')} with answers that differ"
        draw_link(context, list(events.disputed), text, DISPUTED, button="Settle them", icon=":material/gavel:")


def draw_link(
    context: PageContext,
    sample_ids: Sequence[str],
    text: str,
    why: str,
    *,
    button: str = "Label them",
    icon: str = ":material/visibility_off:",
) -> None:
    """Draws a text, and a button that opens a queue of these images on the page Review."""
    with st.container(horizontal=True, vertical_alignment="center", border=True):
        st.markdown(text, width="stretch")
        if st.button(button, key=f"label-{why}", icon=icon):
            selection = save_selection(context.store.project, list(sample_ids), why)
            st.switch_page(context.pages["review"], query_params={**context.query, "selection": selection})
