"""The page without a project: what to do, and a place to type where a project is."""

from pathlib import Path

import streamlit as st

from app.words import plain
from storage.project import SETTINGS

START = """\
gradebook init birds --classes crow,heron,swan  # make a project
gradebook import birds ~/pictures               # say where the images are
gradebook embed birds                           # look at them once
gradebook app birds                             # come back here"""
MANY = 12


def render(problem: str | None) -> None:
    """Draws the page.

    Args:
        problem: what was wrong with the project asked for, if one was.
    """
    _, middle, _ = st.columns([1, 4, 1])
    with middle:
        st.title("Label a hundred images, train on thousands")
        st.markdown(
            "Gradebook trains a teacher and a student on your images, keeps the book on what they said of every "
            "sample, and shows you the ones worth your time."
        )
        if problem:
            st.error(plain(problem), icon=":material/error:")
        _ask()
        _offer(Path.cwd())
        st.subheader("No project yet?")
        st.markdown("Four commands in a terminal make one. Your images stay where they are, unchanged.")
        st.code(START, language="bash")


def _ask() -> None:
    with st.form("open", border=True):
        typed = st.text_input("Where is your project?", placeholder="/home/you/birds", key="path")
        if st.form_submit_button("Open", type="primary", icon=":material/folder_open:") and typed.strip():
            _go(str(Path(typed.strip()).expanduser().resolve()))


def _offer(folder: Path) -> None:
    """Offers the projects in this directory and right below it."""
    found = sorted({path.parent for pattern in (SETTINGS, f"*/{SETTINGS}") for path in folder.glob(pattern)})
    if not found:
        return
    st.caption("Or one of these:")
    with st.container(horizontal=True):
        for root in found[:MANY]:
            name = plain(root.name)
            if st.button(name, key=f"open-{root}", icon=":material/menu_book:", help=plain(str(root))):
                _go(str(root))


def _go(root: str) -> None:
    st.session_state["project"] = root
    st.query_params["project"] = root
    st.rerun()
