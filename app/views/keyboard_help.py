"""The keys of the review page, and what each does."""

from html import escape

import streamlit as st

KEYS = {
    "Enter": "accept the prediction",
    "1 … 9, letters": "label as the class next to the key",
    "/": "type a class, also a new one",
    "X": "reject: no class applies",
    "K": "keep the label in question",
    "S": "skip",
    "U": "undo the last verdict or skip",
    "← →": "your previous image, next image",
    "L": "show images similar to the one labelled last",
    "H": "open the image on Evolution",
    "Space": "grid: select images, as a click does; keys then apply to the selected ones",
    "Shift click": "grid: select a range",
    "Shift Enter": "grid: accept all that have a prediction",
    "+": "grid: show more images",
}
STYLE = """<style>
.all-keys { display: grid; grid-template-columns: max-content minmax(0, 22rem); gap: 0.3rem 1.1rem;
  margin: 0; padding: 0 !important; }
.all-keys dt { font-weight: 600; }
.all-keys dd { margin: 0; }
</style>"""


def draw() -> None:
    """Draws the keys as a list."""
    rows = "".join(f"<dt>{escape(key)}</dt><dd>{escape(meaning)}</dd>" for key, meaning in KEYS.items())
    st.html(f'{STYLE}<dl class="all-keys">{rows}</dl>')
