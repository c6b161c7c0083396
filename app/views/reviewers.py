"""Several reviewers for each image, on the page Overview: how many are asked, and how far they agree."""

import streamlit as st

from gradebook.app import dataframes
from gradebook.app.context import PageContext
from gradebook.app.data_access import read_events
from gradebook.app.text import count, join_names, plain
from gradebook.pipelines.reporting.reviewer_agreement import ReviewerAgreement, measure_agreement
from gradebook.storage.project import MAX_ANSWERS, set_answers

KEY = "answers-per-image"


def draw(context: PageContext) -> None:
    """Draws the setting and the agreement; folded where one reviewer is asked about each image."""
    project, events = context.store.project, read_events(context.store)
    agreement = measure_agreement(events.events, project.answers, actor=context.actor)
    with st.expander("Several reviewers", icon=":material/group:", expanded=bool(agreement.images)):
        wanted = st.number_input(
            "Answers for each image",
            1,
            MAX_ANSWERS,
            project.answers,
            key=KEY,
            width=200,
            help="From 2 on, Review asks further people about labelled images, without the earlier answers.",
        )
        if wanted != project.answers:
            set_answers(project, int(wanted))
            st.rerun()
        if agreement.images:
            _draw_agreement(agreement)
        elif project.answers > 1:
            st.caption("No image has answers of two people yet.")


def _draw_agreement(agreement: ReviewerAgreement) -> None:
    text = f"{count(agreement.images, 'image')} with several answers, the same on {agreement.agreed:,}"
    if agreement.fleiss_kappa is not None:
        text += f". Fleiss' kappa {agreement.fleiss_kappa:.2f}"
    if agreement.conflicts:
        text += f". {count(agreement.conflicts, 'conflict')} to settle on Review; until then they have no label"
    st.markdown(plain(f"{text}."))
    st.dataframe(
        [
            {
                "reviewers": join_names(row.reviewers),
                "images": row.images,
                "the same": 100 * row.agreed,
                "Cohen's kappa": row.kappa,
            }
            for row in agreement.pairs
        ],
        key="reviewer-pairs",
        hide_index=True,
        column_config={
            "the same": st.column_config.NumberColumn(format="%.0f%%"),
            "Cohen's kappa": st.column_config.NumberColumn(format="%.2f"),
        },
        placeholder=dataframes.MISSING,
    )
