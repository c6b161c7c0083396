"""A selection: how a run went over its images together."""

import random

import streamlit as st

from app import recorded
from app import run_figures as figures
from app.desk import Desk
from app.views import opened, selection
from app.words import count, plain
from pipelines import evolution

MOST = 2000  # samples whose records are read


def render(desk: Desk) -> None:
    """Draws the selection that the address names."""
    if "selection" not in st.query_params:
        st.info(
            "Open a selection from the tab *The run*, where a cell or a move leads to its images, or from the map.",
            icon=":material/select_all:",
        )
        return
    chosen = selection.named(desk)
    if chosen is None:
        return
    ids = list(chosen.sample_ids)
    some = sorted(random.Random(0).sample(ids, MOST)) if len(ids) > MOST else ids
    found = evolution.course(recorded.read_rows(desk, some)) if desk.run else None
    if found is None:
        st.caption("This run has no record of them: runs keep one of the unlabelled images that they train on.")
    else:
        drawn = f" {MOST:,} of them, drawn at random, are summed up." if some is not ids else ""
        missing = f" {count(len(some) - found.samples, 'image')} of them it has no record of." * (
            found.samples < len(some)
        )
        st.subheader(f"Through {plain(desk.run.name if desk.run else '')}")
        st.plotly_chart(
            figures.course(found, desk.store.project.classes), key="course", config={"displayModeBar": False}
        )
        st.caption(f"Of every image the steps at which it was recorded.{drawn}{missing}")
    opened.draw(desk, ids, chosen.why)
