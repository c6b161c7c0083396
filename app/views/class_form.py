"""The form that names the classes of a project that has none yet."""

import streamlit as st

from gradebook.app.text import as_sentence, plain
from gradebook.storage.project import Project, ProjectError, add_classes


def render(project: Project) -> None:
    """Draws the form; submitted names become the project's classes."""
    with st.form("name-classes", border=True):
        st.subheader("Name the classes")
        typed = st.text_input(
            "Classes",
            placeholder="crow, heron, swan",
            key="class-names",
            help="Separated by commas. You can add more later: gradebook classes PROJECT --add goose",
        )
        submitted = st.form_submit_button("Add classes", key="classes-named", type="primary", icon=":material/label:")
    if not submitted:
        return
    if not typed.strip():
        st.error("Enter the names of the classes.", icon=":material/error:")
        return
    try:
        add_classes(project, typed.strip().strip(",").split(","))
    except ProjectError as error:
        st.error(plain(as_sentence(str(error))), icon=":material/error:")
        return
    st.rerun()
