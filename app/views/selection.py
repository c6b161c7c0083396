"""Samples that the address chooses, `?selection=ID`: what the review page then shows, and what its links keep."""

from collections.abc import Callable
from functools import partial

import streamlit as st

from app.desk import Desk
from app.words import count, plain, sentence
from pipelines import selected
from pipelines.queue_up import Row
from pipelines.selections import read_selection
from storage.project import ProjectError


def chosen(desk: Desk) -> Callable[..., list[Row]] | None:
    """Returns what gives the samples that the address chooses, and says which; None where it chooses none there are."""
    problem, selection = None, None
    try:
        selection = read_selection(desk.store.project, st.query_params["selection"])
        desk.store.catalog.get(selection.sample_ids)
    except ProjectError as error:
        problem = str(error)
        st.warning(plain(sentence(problem)), icon=":material/search_off:")
    with st.container(horizontal=True, vertical_alignment="center"):
        if selection is not None and problem is None:
            st.markdown(f"**{count(len(selection.sample_ids), 'image')}** {plain(selection.why)}", width="content")
        if "review" in desk.pages:
            st.page_link(desk.pages["review"], label="The whole queue", query_params=dict(desk.query), width="content")
    return None if selection is None or problem else partial(selected.rank, selection=selection)


def kept() -> dict[str, str]:
    """Returns the part of the address that chooses samples, for links that come back to them."""
    return {"selection": st.query_params["selection"]} if "selection" in st.query_params else {}
