"""Class names: the text field for them, and the form that a project without classes shows."""

from collections.abc import Sequence

import streamlit as st

from gradebook.app.data_access import read_samples
from gradebook.app.text import as_sentence, plain
from gradebook.pipelines.importing.class_folders import propose_classes
from gradebook.storage.project import ProjectError, add_classes, join_names, split_names
from gradebook.storage.store import Store


def render(store: Store) -> None:
    """Draws the form; submitted names become the project's classes. Names of folders that look like classes are in it.

    Args:
        store: of a project without classes.
    """
    proposed = propose_classes(sample.filepath for sample in read_samples(store).values())
    with st.form("name-classes", border=True):
        st.subheader("Name the classes")
        if proposed:
            st.caption("These are the names of the folders. Leave out what is not a class.")
        names = draw_field("class-names", "You can add more later: gradebook classes PROJECT --add goose", proposed)
        submitted = st.form_submit_button("Add classes", key="classes-named", type="primary", icon=":material/label:")
    if not submitted:
        return
    if not names:
        st.error("Enter the names of the classes.", icon=":material/error:")
        return
    try:
        add_classes(store.project, names)
    except ProjectError as error:
        st.error(plain(as_sentence(str(error))), icon=":material/error:")
        return
    st.rerun()


def draw_field(key: str, hint: str, proposed: Sequence[str] = ()) -> list[str]:
    """Draws the text field with a hint in its help, filled with proposed names; returns the entered names."""
    help_ = f"Separated by commas. {hint}"
    value = join_names(proposed) if proposed else ""
    typed = st.text_input("Classes", value, placeholder="crow, heron, swan", key=key, help=help_)
    return [name.strip() for name in split_names(typed) if name.strip()]
