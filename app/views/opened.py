"""Samples that a figure has led to: some of them to see, and the ways to all of them."""

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from gradebook.app import context as at
from gradebook.app.context import Desk
from gradebook.app.text import count, plain, shortened
from gradebook.app.views import fiftyone_button, selection
from gradebook.storage.samples import Sample

SOME = 12  # pictures
MOST = 5000  # samples of a selection that is made here
ROOM = 15  # characters below a picture
STYLE = "<style>.st-key-shelf img { aspect-ratio: 1; object-fit: cover; }</style>"


def draw(desk: Desk, sample_ids: Sequence[str], why: str) -> None:
    """Draws the first of the samples and leads to all: to review, to their evolution, to FiftyOne.

    Args:
        desk: the open project.
        sample_ids: at least one.
        why: what they have in common, such as: are 4 to the teacher and 9 to the student.
    """
    ways(desk, sample_ids, why, tuple(selection.WAYS))
    first(desk, sample_ids)


def ways(desk: Desk, sample_ids: Sequence[str], why: str, to: Sequence[str]) -> None:
    """Draws how many the samples are and what they have in common, and leads to pages and to FiftyOne."""
    chosen = list(sample_ids[:MOST])
    more = f" Of these the first {MOST:,} are opened." if len(sample_ids) > MOST else ""
    st.markdown(f"**{count(len(sample_ids), 'image')}** {plain(why)}.{more}")
    with st.container(horizontal=True, vertical_alignment="center", key="opened"):
        for name in to:
            selection.button(desk, name, chosen, why, key=f"opened-{name}")
        fiftyone_button.link(desk, chosen)


def first(desk: Desk, sample_ids: Sequence[str]) -> None:
    """Draws the first of the samples."""
    samples = {sample.sample_id: sample for sample in desk.store.catalog.get(sample_ids[:SOME])}
    shelf(desk, [samples[i] for i in sample_ids[:SOME]])
    if len(sample_ids) > SOME:
        st.caption(f"The first {SOME} of {len(sample_ids):,}.")


def shelf(desk: Desk, samples: Sequence[Sample]) -> None:
    """Draws small pictures that lead to the evolution of their samples."""
    st.html(STYLE)
    labels = at.read_book(desk.store).labels
    with st.container(horizontal=True, key="shelf"):
        for sample in samples:
            if (content := at.picture(desk, sample, 264)) is None:
                continue
            with st.container(width=132, gap="xxsmall"):
                st.image(content, width="stretch", alt=Path(sample.filepath).name)
                label = plain(shortened(labels.get(sample.sample_id, "unlabelled"), ROOM))
                st.button(label, key=f"to-{sample.sample_id}", type="tertiary", on_click=_go, args=(sample.sample_id,))


def _go(sample_id: str) -> None:
    st.query_params.update(sample=sample_id, tab="image")
