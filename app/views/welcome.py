"""The page without a project: what to do, and a place to type where a project is."""

from pathlib import Path

import streamlit as st

from gradebook.app.text import plain, sentence
from gradebook.storage.project import SETTINGS, ProjectError, create_project

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
        _make()
        with st.expander("Or in a terminal"):
            st.code(START, language=None)


def _ask() -> None:
    with st.form("open", border=True):
        st.subheader("Open a project")
        typed = st.text_input("Where is your project?", placeholder="/home/you/birds", key="path")
        if st.form_submit_button("Open", type="primary", icon=":material/folder_open:") and typed.strip():
            _go(str(Path(typed.strip()).expanduser().resolve()))


def _make() -> None:
    """Draws the form that makes a project."""
    with st.form("make", border=True):
        st.subheader("Make a project")
        typed = st.text_input(
            "A new directory for it",
            placeholder="/home/you/birds",
            key="new-path",
            help="On the machine that Gradebook runs on. Labels, runs and vectors are kept there; images are not.",
        )
        names = st.text_input(
            "Classes",
            placeholder="crow, heron, swan",
            key="new-classes",
            help="Separated by commas. Leave it empty where the labels of an import name them; more can come later.",
        )
        made = st.form_submit_button("Make", key="make-project", icon=":material/note_add:")
    if not made:
        return
    if not typed.strip():
        st.error("Say where to put the project.", icon=":material/error:")
        return
    try:
        project = create_project(Path(typed.strip()), [name for name in names.split(",") if name.strip()])
    except (OSError, ProjectError) as error:
        st.error(plain(sentence(str(error))), icon=":material/error:")
        return
    st.session_state["go_to"] = "images"
    _go(str(project.root))


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
