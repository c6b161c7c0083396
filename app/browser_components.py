"""Our parts of a page that run in the browser: NAME.js, what it draws with in NAME_look.js, and NAME.css."""

from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

HERE = Path(__file__).parent


def component(name: str) -> Any:
    """Returns what draws the component of that name."""
    js, css = _files(name)
    return st.components.v2.component(f"gradebook_{name}", js=js, css=css)


@cache
def _files(name: str) -> tuple[str, str]:
    """Returns script and style, read once: a key that somebody presses draws the component again."""
    look, js, css = ((HERE / f"{name}{part}").read_text(encoding="utf-8") for part in ("_look.js", ".js", ".css"))
    return look + js, css
