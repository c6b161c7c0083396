"""The way from a page to FiftyOne: exactly the samples that are on it."""

from collections.abc import Sequence

import streamlit as st

from gradebook.app.context import Desk
from gradebook.app.text import count, plain, sentence
from gradebook.pipelines.fiftyone_app import links
from gradebook.storage.project import ProjectError

STYLE = "<style>:has(> .st-key-elsewhere-problem) { flex: 1 0 100% !important; }</style>"  # a row of its own below


def link(desk: Desk, sample_ids: Sequence[str]) -> None:
    """Draws a button that asks FiftyOne for these samples, and the link once it has answered, or what is missing.

    The link belongs to the samples that it was asked for: on other samples it is gone.
    """
    key = f"elsewhere-{'-'.join(sample_ids)}"
    address, problem = st.session_state.get("elsewhere", {}).get(key, (None, None))
    with st.container(horizontal=True, vertical_alignment="center", key="elsewhere-row"):
        if address is None:
            words = "Open in FiftyOne" if len(sample_ids) == 1 else f"Open these {len(sample_ids):,} in FiftyOne"
            st.button(
                words, key="elsewhere-ask", icon=":material/grid_view:", on_click=_ask, args=(desk, sample_ids, key)
            )
        else:
            st.link_button(
                f"FiftyOne shows {count(len(sample_ids), 'image')}",
                address,
                icon=":material/open_in_new:",
                type="primary",
            )
    if problem is not None:
        said, command = problem
        with st.container(key="elsewhere-problem"):
            st.html(STYLE)
            st.info(plain(sentence(said)) + (" Start it in a terminal:" if command else ""), icon=":material/info:")
            if command:
                st.code(command, language=None, wrap_lines=True)


def _ask(desk: Desk, sample_ids: Sequence[str], key: str) -> None:
    address: str | None = None
    problem: tuple[str, str | None] | None = None  # what is missing, and the command that mends it
    try:
        address = links.in_fiftyone(desk.store.project, sample_ids)
    except ProjectError as error:
        reason, _, command = str(error).rpartition(": gradebook ")
        problem = (reason, f"gradebook {command}") if reason else (str(error), None)
    st.session_state["elsewhere"] = {key: (address, problem)}  # FiftyOne keeps few saved views
