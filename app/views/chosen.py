"""Samples that were chosen on the map: some of them to see, and the ways to all of them."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import urlencode

import streamlit as st

from gradebook.app import context as at
from gradebook.app.context import Desk
from gradebook.app.text import count, plain
from gradebook.app.views import fiftyone_button, selection
from gradebook.storage.samples import Sample

SOME = 24  # pictures
PIXELS = 192
STYLE = """<style>
.shelf-of-map { display: grid; grid-template-columns: repeat(auto-fill, minmax(92px, 1fr)); gap: 0.5rem; }
.shelf-of-map a { min-width: 0; font-size: 0.8rem; color: inherit; text-decoration: none; border-radius: 0.35rem; }
.shelf-of-map a:focus-visible { outline: 3px solid #2C97A0; outline-offset: 2px; }
.shelf-of-map img { width: 100%; aspect-ratio: 1; object-fit: cover; border-radius: 0.35rem; display: block; }
.shelf-of-map span { display: block; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
</style>"""


def draw(desk: Desk, sample_ids: Sequence[str], why: str) -> None:
    """Draws how many samples were chosen, the ways to review them all or see them in FiftyOne, and some of them.

    Args:
        desk: the open project.
        sample_ids: in the order to review them; may be none.
        why: what they have in common, such as: chosen on the map.
    """
    if not sample_ids:
        st.caption("No image lies in there: draw around some points.")
        return
    with st.container(horizontal=True, vertical_alignment="center", key="chosen"):
        st.markdown(f"**{count(len(sample_ids), 'image')}** {plain(why)}", width="content")
        selection.button(desk, "review", sample_ids, why, key="review-chosen", primary=True)
        selection.button(desk, "evolution", sample_ids, why, key="evolution-of-chosen")
        fiftyone_button.link(desk, sample_ids)
    shelf(desk, desk.store.catalog.get(sample_ids[:SOME]))
    if len(sample_ids) > SOME:
        st.caption(f"The first {SOME} of {len(sample_ids):,}, in the order in which they are reviewed.")


def shelf(desk: Desk, samples: Sequence[Sample]) -> None:
    """Draws small pictures that lead to the records of their samples, each in a tab of its own: this page stays."""
    labels = at.read_book(desk.store).labels
    page = desk.pages["evolution"].url_path if "evolution" in desk.pages else "evolution"
    tiles = []
    for sample in samples:
        source = at.picture_address(desk, sample, PIXELS) or ""
        address = f"{page}?{urlencode({**desk.query, 'sample': sample.sample_id})}"
        name, label = escape(Path(sample.filepath).name), escape(labels.get(sample.sample_id, "unlabelled"))
        tiles.append(
            f'<a href="{escape(address)}" target="_blank" title="{name}"><img src="{source}" alt="{name}">'
            f"<span>{label}</span></a>"
        )
    st.html(f'{STYLE}<div class="shelf-of-map">{"".join(tiles)}</div>')
