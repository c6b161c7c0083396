"""A selection: how a run went over its images together."""

import random

import streamlit as st

from gradebook.app import record_access
from gradebook.app.context import Desk
from gradebook.app.figures import run as figures
from gradebook.app.text import plain
from gradebook.app.theme import is_dark
from gradebook.app.views import next_steps, opened, selection
from gradebook.pipelines.reporting import training_dynamics

MOST = 2000  # samples whose records are read


def render(desk: Desk) -> None:
    """Draws the selection that the address names."""
    if "selection" not in st.query_params:
        st.info(
            "Choose images first: press a number or open a move on the tab *The run*, or draw around points on *Map*.",
            icon=":material/select_all:",
        )
        next_steps.links(desk, [("map", "To the map")])
        return
    chosen = selection.named(desk)
    if chosen is None:
        return
    ids = list(chosen.sample_ids)
    some = sorted(random.Random(0).sample(ids, MOST)) if len(ids) > MOST else ids
    opened.ways(desk, ids, chosen.why, ["review"])
    found = training_dynamics.course(record_access.read_rows(desk, some)) if desk.run else None
    if found is None:
        st.caption("This run has no record of them: it records the unlabelled images that it trains on, and no others.")
    else:
        drawn = f" Summed up are {MOST:,} of them, drawn at random." if some is not ids else ""
        without = len(some) - found.samples
        have = "has" if without == 1 else "have"
        missing = f" {without:,} of them {have} no record: a run records the unlabelled images that it trains on."
        st.subheader(f"Through {plain(desk.run.name if desk.run else '')}")
        st.plotly_chart(
            figures.course(found, desk.store.project.classes, dark=is_dark()),
            key="course",
            config={"displayModeBar": False},
        )
        st.caption(f"An image counts at the steps at which it was recorded.{drawn}{missing * bool(without)}")
    opened.first(desk, ids)
