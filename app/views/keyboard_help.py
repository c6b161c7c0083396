"""The keys of the review page, and what each does."""

from html import escape

import streamlit as st

KEYS = {
    "Enter": "accepts the guess",
    "1 … 9, letters": "the class that the key stands beside",
    "/": "types a class",
    "X": "no class applies",
    "K": "keeps the label in question",
    "S": "skips",
    "U": "undoes",
    "← →": "move",
    "L": "brings images like the last answered one",
    "H": "shows its evolution",
    "Space": "in the grid: chooses images, as a click does; keys then act on those that are chosen",
    "Shift Enter": "in the grid: accepts all",
    "+": "in the grid: brings more images",
}
STYLE = """<style>
.all-keys { display: grid; grid-template-columns: max-content minmax(0, 22rem); gap: 0.3rem 1.1rem;
  margin: 0; padding: 0 !important; }
.all-keys dt { font-weight: 600; }
.all-keys dd { margin: 0; }
</style>"""


def draw() -> None:
    """Draws them below each other."""
    rows = "".join(f"<dt>{escape(key)}</dt><dd>{deed}</dd>" for key, deed in KEYS.items())
    st.html(f'{STYLE}<dl class="all-keys">{rows}</dl>')
