"""The outbox: on every page, sends the verdicts of a review page that was left before the server had acknowledged them.

The review component stores each verdict in the browser until it is acknowledged. After a click in the sidebar, a reload
or a closed window, the next page sends the remaining verdicts and lists those that could not be saved.
It sends them as a request of its own (`late_actions`): a rerun of Streamlit would cancel a change of page that was
requested just before.
"""

import hashlib
import secrets

import streamlit as st

from gradebook.app import late_actions, screens, sign_in
from gradebook.app.browser_components import component
from gradebook.app.context import PageContext

KEY = "outbox"
PAGE = "outbox-page:{root}"  # session key


def draw(context: PageContext) -> None:
    """Draws the component, which is empty unless a page was left too early."""
    page = st.session_state.setdefault(PAGE.format(root=context.store.project.root), secrets.token_hex(16))
    screens.remember(page, screens.Screen(store=context.store, run=None, actor=context.actor, rows={}))
    data = {"project": storage_name(context), "late_path": late_actions.PATH, "page": page}
    component("outbox_component")(key=KEY, data=data)


def storage_name(context: PageContext) -> str:
    """Returns the name under which the browser stores verdicts: of the project, and of the user who signed in."""
    user = str(sign_in.user_name()) if sign_in.is_required() else ""
    return hashlib.blake2b(f"{context.store.project.root}\0{user}".encode(), digest_size=16).hexdigest()
