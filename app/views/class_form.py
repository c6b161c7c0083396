"""Class names: the text field for them, and the form that a project without classes shows."""

import streamlit as st

from gradebook.app.text import as_sentence, plain
from gradebook.storage.project import Project, ProjectError, add_classes, split_names


def render(project: Project) -> None:
    """Draws the form; submitted names become the project's classes."""
    with st.form("name-classes", border=True):
        st.subheader("Name the classes")
        names = draw_field("class-names", "You can add more later: gradebook classes PROJECT --add goose")
        submitted = st.form_submit_button("Add classes", key="classes-named", type="primary", icon=":material/label:")
    if not submitted:
        return
    if not names:
        st.error("Enter the names of the classes.", icon=":material/error:")
        return
    try:
        add_classes(project, names)
    except ProjectError as error:
        st.error(plain(as_sentence(str(error))), icon=":material/error:")
        return
    st.rerun()


def draw_field(key: str, hint: str) -> list[str]:
    """Draws the text field with a hint in its help; returns the entered names."""
    typed = st.text_input("Classes", placeholder="crow, heron, swan", key=key, help=f"Separated by commas. {hint}")
    return [name.strip() for name in split_names(typed) if name.strip()]
