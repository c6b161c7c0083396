"""Draws a page in two passes: first its numbers, then the tables and figures.

The browser loads 6 MB of scripts for tables and figures, and two dozen files for the sidebar's controls. Sent together
with the numbers, these would be loaded before any number is shown.
"""

import streamlit as st

DELAY_S = 0.6  # from the first pass in the browser to its request for the second
DRAWN = "pages-drawn"  # session key: the pages whose first pass the browser has drawn


def is_first_pass_drawn(page: str) -> bool:
    """Returns whether the browser has drawn the first pass of a page."""
    drawn: set[str] = st.session_state.setdefault(DRAWN, set())
    return page in drawn


def schedule_second_pass(page: str) -> None:
    """Lets the browser draw the first pass of a page, then runs the page again."""
    st.fragment(_rerun_when_drawn, run_every=DELAY_S)(page, [])


def _rerun_when_drawn(page: str, calls: list[None]) -> None:
    """Runs once with the page, and once more when the browser has drawn it."""
    calls.append(None)
    if len(calls) > 1:
        st.session_state[DRAWN].add(page)
        st.rerun()
