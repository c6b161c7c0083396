"""Drawing what matters of a page first: its numbers stand while the browser loads what tables and figures need.

Those are 6 MB of scripts, and for the sidebar's controls another two dozen files. Sent along with the numbers, they
are read before any number is shown.
"""

import streamlit as st

SOON = 0.6  # seconds after the browser got the beginning until it asks for the rest
SEEN = "seen-first"  # in the session: pages whose beginning the browser has drawn


def was_drawn(page: str) -> bool:
    """Returns whether the browser has drawn the beginning of a page."""
    seen: set[str] = st.session_state.setdefault(SEEN, set())
    return page in seen


def go_on_soon(page: str) -> None:
    """Lets the browser draw what there is of a page, its beginning, and run it again."""
    st.fragment(_ask, run_every=SOON)(page, [])


def _ask(page: str, calls: list[None]) -> None:
    """Is called once as the page is made, and again when the browser has drawn it."""
    calls.append(None)
    if len(calls) > 1:
        st.session_state[SEEN].add(page)
        st.rerun()
