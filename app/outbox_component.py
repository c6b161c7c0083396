"""The outbox: on every page, sends the verdicts of a review page that was left before the server had acknowledged them.

The review component keeps each verdict in the browser's storage until it is acknowledged. What is left there after a
click in the sidebar, a reload or a closed window is sent by the next page, which also says what could not be saved.
"""

import hashlib
from functools import partial
from typing import Any

import streamlit as st

from gradebook.app import late_actions, screens, sign_in
from gradebook.app.browser_components import component
from gradebook.app.context import PageContext
from gradebook.app.review_actions import describe_failures, parse_actions
from gradebook.app.text import capitalized
from gradebook.storage.project import ProjectError

KEY = "outbox"
OUTCOME = "outbox-outcome"  # session key


def draw(context: PageContext) -> None:
    """Draws the component, which is empty unless a page was left too early."""
    st.fragment(_draw)(context)


def storage_name(context: PageContext) -> str:
    """Returns the name under which the browser stores verdicts: of the project, and of the user who signed in."""
    user = str(sign_in.user_name()) if sign_in.is_required() else ""
    return hashlib.blake2b(f"{context.store.project.root}\0{user}".encode(), digest_size=16).hexdigest()


def _draw(context: PageContext) -> None:
    outcome = st.session_state.get(OUTCOME) or {"acknowledged": [], "notices": {}}
    data = {"project": storage_name(context), "late_path": late_actions.PATH, **outcome}
    component("outbox_component")(key=KEY, data=data, on_message_change=partial(_on_message, context))


def _on_message(context: PageContext) -> None:
    """Writes the verdicts that the browser still had. It sends them again until they are acknowledged."""
    message: Any = st.session_state[KEY].get("message") or {}
    actions = parse_actions(message.get("actions"))
    try:
        outcome = screens.apply(context.store, context.actor, actions)
    except ProjectError as error:
        st.toast(capitalized(str(error)))
        return
    notices = {failure["action_id"]: failure["text"] for failure in describe_failures(outcome)}
    st.session_state[OUTCOME] = {"acknowledged": [action.action_id for action in actions], "notices": notices}
