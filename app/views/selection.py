"""Samples that the address chooses, `?selection=ID`: what a page then shows, the way there, and what links keep."""

from collections.abc import Callable, Sequence
from functools import partial

import streamlit as st

from gradebook.app.context import Desk
from gradebook.app.text import count, plain, sentence
from gradebook.pipelines.curation import selection_queue
from gradebook.pipelines.curation.queue_items import Row
from gradebook.pipelines.curation.selections import Selection, read_selection, save_selection
from gradebook.storage.project import ProjectError

WAYS = {  # page -> what to call the way there, its icon, and what its address holds beside the selection
    "review": ("Review these", ":material/done_all:", {}),
    "evolution": ("Their evolution", ":material/timeline:", {"tab": "selection"}),
}


def named(desk: Desk) -> Selection | None:
    """Returns the selection that the address names, whose samples are all there; says what is wrong where none is."""
    try:
        selection = read_selection(desk.store.project, st.query_params["selection"])
        desk.store.catalog.get(selection.sample_ids)
    except ProjectError as error:
        st.warning(plain(sentence(str(error))), icon=":material/search_off:")
        return None
    return selection


def chosen(desk: Desk) -> Callable[..., list[Row]] | None:
    """Returns what gives the samples that the address chooses, and says which; None where it chooses none there are."""
    selection = named(desk)
    with st.container(horizontal=True, vertical_alignment="center"):
        if selection is not None:
            st.markdown(f"**{count(len(selection.sample_ids), 'image')}** {plain(selection.why)}", width="content")
        if "review" in desk.pages:
            st.page_link(desk.pages["review"], label="The whole queue", query_params=dict(desk.query), width="content")
    return None if selection is None else partial(selection_queue.rank, selection=selection)


def button(desk: Desk, page: str, sample_ids: Sequence[str], why: str, *, key: str, primary: bool = False) -> None:
    """Draws a button that keeps samples as a selection and opens a page that shows it.

    Args:
        desk: the open project.
        page: one of `WAYS`.
        sample_ids: in the order to look at them, at least one.
        why: what they have in common, such as: chosen on the map.
        key: the button's.
        primary: whether it is the first thing to do on its page.
    """
    label, icon, query = WAYS[page]
    if not st.button(label, key=key, type="primary" if primary else "secondary", icon=icon):
        return
    there = {**desk.query, "selection": save_selection(desk.store.project, sample_ids, why), **query}
    if page in desk.pages:
        st.switch_page(desk.pages[page], query_params=there)


def kept() -> dict[str, str]:
    """Returns the part of the address that chooses samples, for links that come back to them."""
    return {"selection": st.query_params["selection"]} if "selection" in st.query_params else {}
