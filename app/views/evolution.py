"""The page Evolution: how the labels of one image, a selection or a whole run developed during training.

The address has the state of the page: `sample`, `selection`, `tab`, and on the tab of a run `open`, the open group.
"""

import streamlit as st

from gradebook.app.context import PageContext
from gradebook.app.data_access import read_events, read_samples
from gradebook.app.views import evolution_image, evolution_run, evolution_selection, sample_gallery
from gradebook.storage.events import VERDICTS, standing

TABS = {"image": "Image", "selection": "Selection", "run": "Run"}


def render(context: PageContext) -> None:
    """Draws the page."""
    st.title("Evolution")
    tab = _choose_tab()
    if tab == "image":
        _draw_image(context)
    elif tab == "selection":
        evolution_selection.render(context)
    else:
        evolution_run.render(context)


def _choose_tab() -> str:
    default = "image" if "sample" in st.query_params else "selection" if "selection" in st.query_params else "run"
    requested = st.query_params.get("tab", default)
    tab = requested if requested in TABS else default
    st.session_state["evolution-tab"] = tab
    st.segmented_control(
        "Evolution of",
        list(TABS),
        format_func=TABS.__getitem__,
        key="evolution-tab",
        required=True,
        label_visibility="collapsed",
        on_change=_save_tab,
    )
    return tab


def _save_tab() -> None:
    st.query_params["tab"] = st.session_state["evolution-tab"]


def _draw_image(context: PageContext) -> None:
    """Draws the image in the address, or the images that were labelled last."""
    samples = read_samples(context.store)
    sample = samples.get(st.query_params.get("sample", ""))
    if sample is not None:
        evolution_image.render(context, sample)
        return
    if "sample" in st.query_params:
        st.warning("There is no such sample in this project.", icon=":material/search_off:")
    events = read_events(context.store).events
    last = dict.fromkeys(e.sample_id for e in reversed(standing(events)) if e.kind in VERDICTS)
    labelled = [samples[sample_id] for sample_id in last if sample_id in samples][: sample_gallery.MAX_THUMBNAILS]
    others = ", or choose one of those labelled last:" if labelled else "."
    st.markdown(f"Press H on *Review* to open an image here, or click a number on the tab *Run*{others}")
    sample_gallery.draw_thumbnails(context, labelled)
