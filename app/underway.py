"""A bar for what has begun and cannot say yet how far it is: it moves, and words say what is being done."""

from html import escape

import streamlit as st

from gradebook.app.theme import is_dark

STYLE = """<style>
.underway { font-size: 0.93rem; }
.underway > div { height: 0.5rem; margin-top: 0.35rem; border-radius: 0.5rem; overflow: hidden;
  background: rgba(128, 128, 128, 0.2); }
.underway > div > div { width: 30%; height: 100%; border-radius: inherit; background: #0B6B74;
  animation: underway 1.6s ease-in-out infinite alternate; }
@keyframes underway { from { margin-left: 0; } to { margin-left: 70%; } }
@media (prefers-reduced-motion: reduce) { .underway > div > div { width: 100%; opacity: 0.45; animation: none; } }
</style>"""
DARK = "<style>.underway > div > div { background: #2C97A0; }</style>"


def draw(words: str) -> None:
    """Draws it. To a reader of the screen it is a progress bar without a value, named by the words."""
    named = escape(words)
    style = STYLE + DARK * is_dark()
    st.html(f'{style}<div class="underway">{named}<div role="progressbar" aria-label="{named}"><div></div></div></div>')
