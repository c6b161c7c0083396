"""The number of labels of each class, as bars in the colors of the classes."""

from collections.abc import Mapping, Sequence
from html import escape

import streamlit as st

from gradebook.storage.class_changes import ProjectClass, hex_color

STYLE = """<style>
.class-bars { display: grid; grid-template-columns: minmax(3rem, max-content) 1fr max-content; gap: 0.3rem 0.6rem;
  align-items: center; margin: 0; padding: 0 !important; max-height: 420px; overflow-y: auto; font-size: 0.9rem; }
.class-bars dt { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; max-width: 9rem; }
.class-bars dd { margin: 0; }
.class-bars .bar { height: 0.75rem; border-radius: 0.2rem; min-width: 2px; }
.class-bars .number { text-align: right; font-variant-numeric: tabular-nums; }
</style>"""


def draw(classes: Sequence[ProjectClass], counts: Mapping[str, int]) -> None:
    """Draws a bar for each class; a class without a label has none."""
    if not classes:
        st.caption("The project has no classes yet.")
        return
    most = max([1, *counts.values()])
    rows = "".join(_row(one, counts.get(one.name, 0), most) for one in classes)
    st.html(f'{STYLE}<dl class="class-bars" tabindex="0" aria-label="Labels per class">{rows}</dl>')


def _row(one: ProjectClass, number: int, most: int) -> str:
    name = escape(one.name)
    bar = f'<div class="bar" style="width:{100 * number / most:.1f}%;background:{hex_color(one)}"></div>'
    return f'<dt title="{name}">{name}</dt><dd>{bar if number else ""}</dd><dd class="number">{number:,}</dd>'
