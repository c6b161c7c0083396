"""A selection: samples that the address names with `?selection=ID`, and the buttons and links that lead to it."""

from collections.abc import Callable, Sequence
from functools import partial

import streamlit as st

from gradebook.app.context import PageContext
from gradebook.app.text import as_sentence, count, plain
from gradebook.pipelines.curation import selection_queue
from gradebook.pipelines.curation.queue_items import Row
from gradebook.pipelines.curation.selections import Selection, read_selection, save_selection
from gradebook.storage.project import ProjectError
from gradebook.storage.store import Store

PAGES = {  # page -> label of the button, its icon, and further parameters of the address
    "review": ("Review these", ":material/done_all:", {}),
    "evolution": ("Their evolution", ":material/timeline:", {"tab": "selection"}),
}


def current(store: Store) -> Selection | None:
    """Returns the selection in the address; draws a warning if there is no such selection or it lacks samples."""
    try:
        selection = read_selection(store.project, st.query_params["selection"])
        store.catalog.get(selection.sample_ids)
    except ProjectError as error:
        st.warning(plain(as_sentence(str(error))), icon=":material/search_off:")
        return None
    return selection


def review_queue(context: PageContext) -> Callable[..., list[Row]] | None:
    """Draws the selection in the address, and returns the function that ranks its samples; None without one."""
    selection = current(context.store)
    with st.container(horizontal=True, vertical_alignment="center"):
        if selection is not None:
            st.markdown(f"**{count(len(selection.sample_ids), 'image')}** {plain(selection.why)}", width="content")
        if "review" in context.pages:
            page, query = context.pages["review"], dict(context.query)
            st.page_link(page, label="Show the whole queue", query_params=query, width="content")
    return None if selection is None else partial(selection_queue.rank, selection=selection)


def button(context: PageContext, page: str, sample_ids: Sequence[str], why: str, *, key: str, primary: bool) -> None:
    """Draws a button that saves samples as a selection and opens a page on it.

    Args:
        context: of the current page.
        page: one of `PAGES`.
        sample_ids: at least one, in the order of review.
        why: what they have in common, such as: selected on the map.
        key: of the button.
        primary: whether it is the main action.
    """
    label, icon, query = PAGES[page]
    if not st.button(label, key=key, type="primary" if primary else "secondary", icon=icon):
        return
    selection = save_selection(context.store.project, sample_ids, why)
    if page in context.pages:
        st.switch_page(context.pages[page], query_params={**context.query, "selection": selection, **query})


def query() -> dict[str, str]:
    """Returns the part of the address that names a selection, for links that lead back to it."""
    return {"selection": st.query_params["selection"]} if "selection" in st.query_params else {}
