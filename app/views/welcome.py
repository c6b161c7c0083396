"""The page without a project: open one, create one, upload images, or open the demo."""

from pathlib import Path

import streamlit as st

from gradebook.app import recent_projects
from gradebook.app.text import as_sentence, plain
from gradebook.app.views import class_form, upload
from gradebook.storage.project import SETTINGS, ProjectError, create_project

COMMANDS = """\
gradebook init birds --classes crow,heron,swan  # create a project
gradebook import birds ~/pictures               # import images
gradebook embed birds                           # compute embeddings
gradebook app birds                             # open it here"""
BROWSED = "browsed"  # session key: the folder that is shown
MAX_FOLDERS = 500
MAX_OFFERED = 12  # projects


def render(problem: str | None) -> None:
    """Draws the page.

    Args:
        problem: what is wrong with the requested project, if one was requested.
    """
    _, middle, _ = st.columns([1, 4, 1])
    with middle:
        st.title("Label a hundred images, train on thousands")
        st.markdown(
            "Gradebook trains a teacher and a student on your images with Meta Pseudo Labels, records what they "
            "predict for each image, and shows you the images that are most worth labelling."
        )
        if problem:
            st.error(plain(problem), icon=":material/error:")
        _offer_projects(Path.cwd())
        _draw_open_form()
        _draw_browser()
        _draw_create_form()
        made = upload.draw_upload() or upload.draw_demo()
        if made is not None:
            st.session_state["go_to"] = "images"
            _open(made)
        with st.expander("Or in a terminal"):
            st.code(COMMANDS, language=None)


def _draw_open_form() -> None:
    with st.form("open", border=True):
        st.subheader("Open a project")
        typed = st.text_input("Project folder", placeholder="/home/you/birds", key="path")
        if st.form_submit_button("Open", type="primary", icon=":material/folder_open:") and typed.strip():
            _open(str(Path(typed.strip()).expanduser().resolve()))


def _draw_create_form() -> None:
    with st.form("make", border=True):
        st.subheader("Create a project")
        typed = st.text_input(
            "New folder",
            placeholder="/home/you/birds",
            key="new-path",
            help="On the machine that Gradebook runs on. Labels, runs and embeddings are stored there; images are not.",
        )
        names = class_form.draw_field(
            "new-classes", "Leave empty to take them from imported labels; you can add more later."
        )
        submitted = st.form_submit_button("Create", key="make-project", icon=":material/note_add:")
    if not submitted:
        return
    if not typed.strip():
        st.error("Enter where to create the project.", icon=":material/error:")
        return
    try:
        project = create_project(Path(typed.strip()), names)
    except (OSError, ProjectError) as error:
        st.error(plain(as_sentence(str(error))), icon=":material/error:")
        return
    st.session_state["go_to"] = "images"
    _open(str(project.root))


def _offer_projects(folder: Path) -> None:
    """Draws a button for each project that was opened last, or is this folder or directly below it."""
    here = sorted({path.parent for pattern in (SETTINGS, f"*/{SETTINGS}") for path in folder.glob(pattern)})
    roots = list(dict.fromkeys([*recent_projects.recent(), *here]))
    if not roots:
        return
    st.caption("Recent projects, and those in the folder where Gradebook was started:")
    with st.container(horizontal=True):
        for root in roots[:MAX_OFFERED]:
            help_ = plain(str(root))
            if st.button(plain(root.name), key=f"open-{root}", icon=":material/menu_book:", help=help_):
                _open(str(root))


def _draw_browser() -> None:
    """Draws a choice of the folders on the machine that Gradebook runs on, one level after the other."""
    with st.expander("Browse folders", icon=":material/folder:"):
        folder = Path(st.session_state.get(BROWSED, Path.home()))
        try:
            below = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
        except OSError as error:
            st.error(plain(as_sentence(f"{folder} cannot be read ({error.strerror}): go up")))
            below = []
        st.caption(plain(str(folder)))
        chosen = st.selectbox(
            "Folder", below[:MAX_FOLDERS], index=None, placeholder="Choose a folder", key=f"in-{folder}"
        )
        if chosen is not None:
            st.session_state[BROWSED] = str(folder / chosen)
            st.rerun()
        with st.container(horizontal=True):
            if st.button("Up", icon=":material/arrow_upward:", disabled=folder == folder.parent):
                st.session_state[BROWSED] = str(folder.parent)
                st.rerun()
            if (folder / SETTINGS).is_file() and st.button("Open this project", type="primary"):
                _open(str(folder))


def _open(root: str) -> None:
    st.session_state["project"] = root
    st.query_params["project"] = root
    st.rerun()
