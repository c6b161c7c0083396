"""A group of samples on a page: what they have in common, links to pages about all of them, and thumbnails."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import urlencode

import streamlit as st

from gradebook.app.context import PageContext
from gradebook.app.data_access import image_data_url, read_events, read_image, unreadable_text
from gradebook.app.text import count, plain, shorten
from gradebook.app.views import fiftyone_button, selection
from gradebook.storage.samples import Sample

MAX_THUMBNAILS = 24
MAX_SELECTED = 5000  # samples of a group that other pages get
THUMBNAIL_PX, TILE_PX = 264, 132  # of the image file, and on the page

MAX_LABEL_CHARS = 15
UNLABELLED = "unlabelled"
STYLE = """<style>
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(92px, 1fr)); gap: 0.5rem; }
.gallery a { min-width: 0; font-size: 0.8rem; color: inherit; text-decoration: none; border-radius: 0.35rem; }
.gallery a:focus-visible { outline: 3px solid #2C97A0; outline-offset: 2px; }
.gallery img { width: 100%; display: block; border-radius: 0.35rem; }
.gallery span { display: block; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.gallery em { display: grid; place-items: center; overflow: hidden; aspect-ratio: 1; }
.gallery img, .st-key-gallery img { aspect-ratio: 1; object-fit: cover; }
</style>"""


def draw_group(
    context: PageContext,
    sample_ids: Sequence[str],
    why: str,
    *,
    pages: Sequence[str] = tuple(selection.PAGES),
    max_selected: int | None = None,
) -> None:
    """Draws how many samples a group has and what they have in common, with buttons to other pages and FiftyOne.

    Args:
        context: of the page.
        sample_ids: at least one, in the order of review.
        why: what they have in common, such as: selected on the map.
        pages: of `selection.PAGES`.
        max_selected: how many samples the other pages get.
    """
    selected = list(sample_ids[:max_selected])
    limit = f" The first {len(selected):,} can be opened." if len(selected) < len(sample_ids) else ""
    st.markdown(f"**{count(len(sample_ids), 'image')}** {plain(why)}.{limit}")
    with st.container(horizontal=True, vertical_alignment="center", key="group"):
        for page in pages:
            selection.button(context, page, selected, why, key=f"group-{page}", primary=page == pages[0])
        fiftyone_button.draw(context.store.project, selected, context.run)


def draw_first(context: PageContext, sample_ids: Sequence[str], *, new_tab: bool = False) -> None:
    """Draws the thumbnails of the first samples."""
    first = list(sample_ids[:MAX_THUMBNAILS])
    samples = {sample.sample_id: sample for sample in context.store.catalog.get(first)}
    draw_thumbnails(context, [samples[i] for i in first], new_tab=new_tab)
    if len(sample_ids) > len(first):
        st.caption(f"The first {len(first)} of {len(sample_ids):,}, in the order of review.")


def draw_thumbnails(context: PageContext, samples: Sequence[Sample], *, new_tab: bool = False) -> None:
    """Draws thumbnails that open their samples on the page Evolution: in a new tab, or in place on that page itself."""
    st.html(STYLE)
    labels = read_events(context.store).labels
    if new_tab:
        links = [_link(context, sample, labels.get(sample.sample_id)) for sample in samples]
        st.html(f'<div class="gallery">{"".join(links)}</div>')
        return
    with st.container(horizontal=True, key="gallery"):
        for sample in samples:
            _tile(context, sample, labels.get(sample.sample_id))


def _link(context: PageContext, sample: Sample, label: str | None) -> str:
    """Returns the HTML of a thumbnail that opens a new tab."""
    page = context.pages["evolution"].url_path if "evolution" in context.pages else "evolution"
    address = escape(f"{page}?{urlencode({**context.query, 'sample': sample.sample_id})}")
    src, name = image_data_url(context.store.project, sample, THUMBNAIL_PX), escape(Path(sample.filepath).name)
    image = f"<em>{escape(unreadable_text(sample))}</em>" if src is None else f'<img src="{src}" alt="{name}">'
    caption = f"<span>{escape(label or UNLABELLED)}</span>"
    return f'<a href="{address}" target="_blank" title="{name}">{image}{caption}</a>'


def _tile(context: PageContext, sample: Sample, label: str | None) -> None:
    """Draws a thumbnail with a button that opens the sample on this page."""
    content = read_image(context.store.project, sample, THUMBNAIL_PX)
    with st.container(width=TILE_PX, gap="xxsmall"):
        if content is None:
            st.caption(plain(unreadable_text(sample)))
        else:
            st.image(content, width="stretch", alt=Path(sample.filepath).name)
        text, key = plain(shorten(label or UNLABELLED, MAX_LABEL_CHARS)), f"to-{sample.sample_id}"
        st.button(text, key=key, type="tertiary", on_click=_open, args=(sample.sample_id,))


def _open(sample_id: str) -> None:
    st.query_params.update(sample=sample_id, tab="image")
