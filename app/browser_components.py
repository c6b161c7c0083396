"""Custom components that run in the browser: NAME.js, its drawing code NAME_look.js, and its styles NAME.css."""

from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

FOLDER = Path(__file__).parent
WITH_STORAGE = ("review_component", "outbox_component")  # these share action_storage.js


def component(name: str) -> Any:
    """Returns the Streamlit component `name`, ready to be called."""
    js, css = _sources(name)
    return st.components.v2.component(f"gradebook_{name}", js=js, css=css)


@cache
def _sources(name: str) -> tuple[str, str]:
    """Returns script and styles. They are read once, because every key press mounts the component again."""
    look, js, css = ((FOLDER / f"{name}{part}").read_text("utf-8") for part in ("_look.js", ".js", ".css"))
    storage = (FOLDER / "action_storage.js").read_text("utf-8") if name in WITH_STORAGE else ""
    return storage + look + js, css
