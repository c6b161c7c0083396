"""A form on the page without a project: images from this browser become a project, and so does the demo."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import streamlit as st

from gradebook.app.text import as_sentence, count, plain
from gradebook.app.views import class_form
from gradebook.pipelines.importing.uploads import save_uploads
from gradebook.pipelines.jobs.start_project import start_demo, start_project
from gradebook.storage.project import ProjectError

DEMO_DIRECTORY = Path("~/gradebook-demo")


class Uploaded(Protocol):
    """A file from the browser, as Streamlit has it."""

    name: str

    def getvalue(self) -> bytes:
        """Returns its content."""


def draw_upload() -> str | None:
    """Draws the form; returns the directory of the project that it has made."""
    with st.form("upload", border=True):
        st.subheader("Upload images")
        files = st.file_uploader("Image files, or one .zip of them", accept_multiple_files=True, key="uploaded")
        typed = st.text_input(
            "New project folder",
            placeholder="/home/you/birds",
            key="upload-path",
            help="On the machine that Gradebook runs on. The images are stored beside it, in birds-images.",
        )
        names = class_form.draw_field("upload-classes", "You can add them later.")
        submitted = st.form_submit_button("Upload and create", key="upload-project", icon=":material/upload:")
    if not submitted:
        return None
    if not files or not typed.strip():
        what = "where to create the project" if files else "at least one image or a .zip"
        st.error(f"Give {what}.", icon=":material/error:")
        return None
    try:
        return _create(files, Path(typed.strip()).expanduser().resolve(), names)
    except (OSError, ProjectError) as error:
        st.error(plain(as_sentence(str(error))), icon=":material/error:")
        return None


def draw_demo() -> str | None:
    """Draws the button of the demo; returns the directory of its project once it is pressed."""
    with st.container(border=True, horizontal=True, vertical_alignment="center", key="demo-box"):
        st.markdown("**Try it first** with 1,797 handwritten digits, three of each labelled.", width="stretch")
        if not st.button("Open the demo", key="demo", icon=":material/play_circle:"):
            return None
        try:
            with st.spinner("Writing the images"):
                return str(start_demo(DEMO_DIRECTORY).root)
        except (OSError, ProjectError) as error:
            st.error(plain(as_sentence(str(error))), icon=":material/error:")
    return None


def _create(files: Sequence[Uploaded], root: Path, names: Sequence[str]) -> str:
    saved = save_uploads([(file.name, file.getvalue()) for file in files], root)
    project = start_project(saved.images, root, names)
    if saved.left_out:
        st.toast(f"{count(len(saved.left_out), 'file')} left out, because they are no images.")
    return str(project.root)
