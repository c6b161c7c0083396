"""The page Evolution: how labels came about, of one image, of a selection, of a whole run.

The address says what is shown: `sample`, `selection`, `tab`, and on a run's tab `open`, the images that were opened.
"""

import streamlit as st

from gradebook.app import context as at
from gradebook.app.context import Desk
from gradebook.app.views import evolution_image, evolution_run, evolution_selection, opened
from gradebook.storage.events import VERDICTS, standing

TABS = {"image": "One image", "selection": "A selection", "run": "The run"}


def render(desk: Desk) -> None:
    """Draws the page."""
    st.title("Evolution")
    tab = _tab()
    if tab == "image":
        _image(desk)
    elif tab == "selection":
        evolution_selection.render(desk)
    else:
        evolution_run.render(desk)


def _tab() -> str:
    usual = "image" if "sample" in st.query_params else "selection" if "selection" in st.query_params else "run"
    asked = st.query_params.get("tab", usual)
    tab = asked if asked in TABS else usual
    st.session_state["evolution-tab"] = tab
    st.segmented_control(
        "Evolution of",
        list(TABS),
        format_func=TABS.__getitem__,
        key="evolution-tab",
        required=True,
        label_visibility="collapsed",
        on_change=_turn,
    )
    return tab


def _turn() -> None:
    st.query_params["tab"] = st.session_state["evolution-tab"]


def _image(desk: Desk) -> None:
    samples = at.read_samples(desk.store)
    sample = samples.get(st.query_params.get("sample", ""))
    if sample is not None:
        evolution_image.render(desk, sample)
        return
    if "sample" in st.query_params:
        st.warning("There is no such sample in this project.", icon=":material/search_off:")
    events = at.read_book(desk.store).events
    last = dict.fromkeys(e.sample_id for e in reversed(standing(events)) if e.kind in VERDICTS)
    answered = [samples[sample_id] for sample_id in last if sample_id in samples][: opened.SOME]
    here = ", or one of those answered last:" if answered else "."
    st.markdown(f"Open an image with H on *Review*, or from what a figure on the tab *The run* leads to{here}")
    opened.shelf(desk, answered)
