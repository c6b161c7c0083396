"""A selection: how the predictions for its images developed over a run."""

import random
from collections.abc import Sequence

import streamlit as st

from gradebook.app import record_access
from gradebook.app.context import PageContext
from gradebook.app.figures import selection as figures
from gradebook.app.figures.common import class_colors
from gradebook.app.text import plain
from gradebook.app.views import next_steps, sample_gallery, selection
from gradebook.pipelines.reporting import training_dynamics
from gradebook.pipelines.runs import Run
from gradebook.storage.store import Store

MAX_SAMPLES = 2000  # whose records are read; a random subset of larger selections
RECORDED = "a run records the unlabelled images that it trains on"


def render(context: PageContext) -> None:
    """Draws the selection in the address."""
    if "selection" not in st.query_params:
        text = "Select images first: click a number on the tab *Run*, or draw around points on *Map*."
        st.info(text, icon=":material/select_all:")
        next_steps.links(context, [("map", "Map")])
        return
    selected = selection.current(context.store)
    if selected is None:
        return
    ids = list(selected.sample_ids)
    sample_gallery.draw_group(context, ids, selected.why, pages=["review"], max_selected=sample_gallery.MAX_SELECTED)
    if context.run is not None:
        _draw_dynamics(context.store, context.run, ids)
    sample_gallery.draw_first(context, ids)


def _draw_dynamics(store: Store, run: Run, ids: Sequence[str]) -> None:
    """Draws the figure, with notes on the samples that it leaves out."""
    shown = sorted(random.Random(0).sample(ids, MAX_SAMPLES)) if len(ids) > MAX_SAMPLES else ids
    curves = training_dynamics.dynamics_curves(record_access.read_histories(store, run, shown))
    if curves is None:
        st.caption(f"{plain(run.name)} has no record of these images: {RECORDED}.")
        return
    st.subheader(f"Record of {plain(run.name)}")
    figure = figures.dynamics(curves, class_colors(store.project.styled_classes))
    st.plotly_chart(figure, key="course", config={"displayModeBar": False})
    notes = ["Each image counts at the steps at which it was recorded."]
    if len(shown) < len(ids):
        notes.append(f"The figure summarizes a random {MAX_SAMPLES:,} of them.")
    if missing := len(shown) - curves.samples:
        notes.append(f"{missing:,} of them {'has' if missing == 1 else 'have'} no record: {RECORDED}.")
    st.caption(" ".join(notes))
