"""Which of the two themes whoever looks has chosen, or their system for them."""

import streamlit as st


def is_dark() -> bool:
    """Returns whether the page is drawn light on dark."""
    return st.context.theme.type == "dark"
