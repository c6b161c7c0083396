"""The theme of the page, chosen by the user or by their system."""

import streamlit as st


def is_dark() -> bool:
    """Returns whether the page has the dark theme."""
    return st.context.theme.type == "dark"
