"""The form that names a project's classes, where it has none yet."""

import streamlit as st

from gradebook.app.context import Desk
from gradebook.app.text import plain, sentence
from gradebook.storage.project import ProjectError, add_classes


def render(desk: Desk) -> None:
    """Draws it: what is typed there becomes the project's classes."""
    with st.form("name-classes", border=True):
        st.subheader("Name the classes")
        typed = st.text_input(
            "Classes",
            placeholder="crow, heron, swan",
            key="class-names",
            help="Separated by commas. More can be added later: gradebook classes PROJECT --add goose",
        )
        named = st.form_submit_button("Name them", key="classes-named", type="primary", icon=":material/label:")
    if not named:
        return
    if not typed.strip():
        st.error("Say what the images can be of.", icon=":material/error:")
        return
    try:
        add_classes(desk.store.project, typed.strip().strip(",").split(","))
    except ProjectError as error:
        st.error(plain(sentence(str(error))), icon=":material/error:")
        return
    st.rerun()
