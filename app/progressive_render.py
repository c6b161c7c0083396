"""Draws a page in two passes: first its numbers, then the tables and figures.

For tables and figures the browser loads 6 MB of scripts, and for the sidebar's controls two dozen files. In a single
pass it would load all of them before it shows any number.
"""

import streamlit as st

DELAY_S = 0.6  # from the first pass in the browser to its request for the second
SHOWN_PAGES = "pages-drawn"  # session key: the pages whose first pass the browser has shown


def is_first_pass_drawn(page: str) -> bool:
    """Returns whether the browser has drawn the first pass of a page."""
    pages: set[str] = st.session_state.setdefault(SHOWN_PAGES, set())
    return page in pages


def schedule_second_pass(page: str) -> None:
    """Lets the browser draw the first pass of a page, then runs the page again."""
    st.fragment(_rerun_when_drawn, run_every=DELAY_S)(page, [])


def _rerun_when_drawn(page: str, calls: list[None]) -> None:
    """Runs once with the page, and once more when the browser has drawn it."""
    calls.append(None)
    if len(calls) > 1:
        st.session_state[SHOWN_PAGES].add(page)
        st.rerun()
