"""Bars that the page itself draws: they are there with the numbers, where a figure waits for Plotly to load."""

from collections.abc import Mapping
from html import escape

import streamlit as st

LOW = 14  # bars that are drawn without a frame to scroll in
HEIGHT = 420  # pixels of that frame
STYLE = """<style>
.bars { display: grid; grid-template-columns: fit-content(50%) 1fr; gap: 0.35rem 0.75rem; align-items: center;
  margin: 0; padding: 0 !important; font-size: 0.93rem; }
.bars dt { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.bars dd { margin: 0; display: flex; align-items: center; gap: 0.5rem; font-variant-numeric: tabular-nums; }
.bars dd span { background: #2C97A0; height: 0.8rem; border-radius: 0.2rem; flex-shrink: 1; }
</style>"""


def counts(numbers: Mapping[str, int]) -> None:
    """Draws a bar for each name, in their order, as long as its number."""
    most = max([1, *numbers.values()])
    rows = "".join(
        f'<dt title="{escape(name)}">{escape(name)}</dt>'
        f'<dd><span style="width: {85 * number / most:.2f}%"></span>{number:,}</dd>'
        for name, number in numbers.items()
    )
    with st.container(height=HEIGHT if len(numbers) > LOW else "content", border=False, key="bars"):
        st.html(f'{STYLE}<dl class="bars">{rows}</dl>')
