"""The button that opens the samples of a page in FiftyOne."""

from collections.abc import Sequence

import streamlit as st

from gradebook.app.text import as_sentence, count, plain
from gradebook.pipelines.fiftyone_app import links
from gradebook.storage.project import Project, ProjectError

LINKS = "fiftyone-links"  # session key: button -> (address, problem)
STYLE = "<style>:has(> .st-key-fiftyone-problem) { flex: 1 0 100% !important; }</style>"  # on a line of its own


def draw(project: Project, sample_ids: Sequence[str]) -> None:
    """Draws a button that makes a link to these samples in FiftyOne, and then the link or the problem.

    The link disappears when the page shows other samples.
    """
    key = f"fiftyone-{'-'.join(sample_ids)}"
    address, problem = st.session_state.get(LINKS, {}).get(key, (None, None))
    with st.container(horizontal=True, vertical_alignment="center", key="fiftyone-row"):
        if address is None:
            label = "Open in FiftyOne" if len(sample_ids) == 1 else f"Open these {len(sample_ids):,} in FiftyOne"
            args = (project, sample_ids, key)
            st.button(label, key="fiftyone-ask", icon=":material/grid_view:", on_click=_make_link, args=args)
        else:
            label = f"Show {count(len(sample_ids), 'image')} in FiftyOne"
            st.link_button(label, address, icon=":material/open_in_new:", type="primary")
    if problem is not None:
        _draw_problem(*problem)


def _draw_problem(message: str, command: str | None) -> None:
    """Draws a problem, and the command that solves it."""
    with st.container(key="fiftyone-problem"):
        st.html(STYLE)
        st.info(plain(as_sentence(message)) + (" Run in a terminal:" if command else ""), icon=":material/info:")
        if command:
            st.code(command, language=None, wrap_lines=True)


def _make_link(project: Project, sample_ids: Sequence[str], key: str) -> None:
    address: str | None = None
    problem: tuple[str, str | None] | None = None
    try:
        address = links.in_fiftyone(project, sample_ids)
    except ProjectError as error:
        message, _, command = str(error).rpartition(": gradebook ")
        problem = (message, f"gradebook {command}") if message else (str(error), None)
    st.session_state[LINKS] = {key: (address, problem)}  # one link: FiftyOne keeps few saved views
