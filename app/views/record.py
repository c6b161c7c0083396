"""The record page: one image large, what teacher and student said of it step by step, and its entries in the log."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from app import desk as at
from app import figures
from app.desk import Book, Desk
from app.views import elsewhere, selection
from app.words import ago, deed, percent, plain, who
from pipelines.verdicts import Shown
from storage.events import VERDICTS, Event, standing
from storage.samples import Sample

LARGE = 900  # pixels
NEIGHBOURS = 6
STYLE = "<style>.st-key-shelf img { aspect-ratio: 1; object-fit: cover; }</style>"


def render(desk: Desk) -> None:
    """Draws the page of the sample that the address names."""
    samples = at.read_samples(desk.store)
    book = at.read_book(desk.store)
    sample = samples.get(st.query_params.get("sample", ""))
    if sample is None:
        _choose(samples, book)
        return
    rows = at.read_history(desk, sample.sample_id)
    if "review" in desk.pages:
        query = {**desk.query, **selection.kept()}
        st.page_link(desk.pages["review"], label="Back to review", query_params=query)
    st.title(plain(book.labels.get(sample.sample_id, "Unlabelled")))
    left, right = st.columns([5, 7], gap="large")
    with left:
        _image(sample)
        _facts(sample)
        elsewhere.link(desk, [sample.sample_id])
        _events([e for e in book.events if e.sample_id == sample.sample_id])
    with right:
        _say(desk, sample, book, rows)
        _history(desk, rows)
    _neighbours(desk, sample, samples, book)


def _choose(samples: dict[str, Sample], book: Book) -> None:
    st.title("Record")
    if "sample" in st.query_params:
        st.warning("There is no such sample in this project.", icon=":material/search_off:")
    st.markdown("Open a sample from the review page, or one of those answered last:")
    last = dict.fromkeys(e.sample_id for e in reversed(standing(book.events)) if e.kind in VERDICTS)
    _shelf([samples[sample_id] for sample_id in last if sample_id in samples][:12], book)


def _image(sample: Sample) -> None:
    content = at.picture(sample, LARGE)
    if content is None:
        st.warning("This file cannot be read.", icon=":material/broken_image:")
    else:
        st.image(content, width="stretch", alt=Path(sample.filepath).name)


def _facts(sample: Sample) -> None:
    size = f"{sample.width} × {sample.height} pixels, {sample.split.value} split"
    name, path = plain(Path(sample.filepath).name), plain(sample.filepath)
    st.caption(f"**{name}**  \n{size}  \n{path}  \nsample {sample.sample_id}")


def _say(desk: Desk, sample: Sample, book: Book, rows: Sequence[dict[str, Any]]) -> None:
    """Draws who decided the label, and the means to decide it anew."""
    decision = book.decided.get(sample.sample_id)
    st.markdown(f"{plain(deed(decision))}, {ago(decision.at)}" if decision else "Nobody has decided it yet.")
    shown = _shown(desk, sample, rows)
    if shown.label is not None:
        st.markdown(
            f"The teacher of {plain(shown.run or '')} says **{plain(shown.label)}** {percent(shown.probability)}."
        )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if shown.label is not None and (decision is None or decision.label != shown.label):
            accept = f"Accept {plain(shown.label)}"
            st.button(accept, key="accept", type="primary", on_click=_decide, args=(desk, shown, decision, shown.label))
        key = f"label-{sample.sample_id}-{len(book.events)}"  # anew after each entry, so that no choice is left over
        st.selectbox(
            "Label",
            desk.store.project.classes,
            index=None,
            placeholder="Choose a label",
            label_visibility="collapsed",
            key=key,
            on_change=_choose_label,
            args=(desk, shown, decision, key),
            width=180,
        )
        st.button("Reject", key="reject", icon=":material/block:", on_click=_decide, args=(desk, shown, decision, None))
        if decision is not None and decision.kind in VERDICTS:
            st.button("Undo", key="undo", on_click=at.take_back, args=(desk, decision))


def _shown(desk: Desk, sample: Sample, rows: Sequence[dict[str, Any]]) -> Shown:
    last = rows[-1] if rows else {}
    return Shown(
        sample_id=sample.sample_id,
        label=last.get("teacher_label"),
        probability=last.get("teacher_probability"),
        run=desk.run.name if desk.run else None,
    )


def _history(desk: Desk, rows: Sequence[dict[str, Any]]) -> None:
    if not rows:
        st.caption("No run has a record of it: runs keep one of the unlabelled images that they train on.")
        return
    st.subheader(f"Through {plain(rows[0]['run'])}")
    figure = figures.history(rows, desk.store.project.classes)
    st.plotly_chart(figure, key="history", config={"displayModeBar": False})
    st.caption(
        "Feedback is the influence on the student: above zero, a step towards the teacher's label lowered the loss on "
        "the labelled images. It is no score of right or wrong."
    )


def _events(events: Sequence[Event]) -> None:
    st.subheader("In the log")
    if not events:
        st.caption("Nothing yet.")
    stands = {e.event_id for e in standing(events)}
    for e in sorted(events, key=lambda e: e.at, reverse=True):
        text = plain(deed(e)) + (f" {percent(e.confidence)}" if e.confidence is not None else "")
        gone = e.kind in VERDICTS and e.event_id not in stands
        st.markdown(f"{e.at:%Y-%m-%d %H:%M} &nbsp; {f'~~{text}~~' if gone else text}")


def _neighbours(desk: Desk, sample: Sample, samples: dict[str, Sample], book: Book) -> None:
    spaces = desk.store.vectors.spaces()
    if not spaces or desk.store.vectors.missing(spaces[0].backbone, [sample.sample_id]):
        return
    st.subheader("It looks like")
    near = desk.store.vectors.nearest(spaces[0].backbone, sample.sample_id, NEIGHBOURS)
    _shelf([samples[sample_id] for sample_id, _ in near if sample_id in samples], book)


def _shelf(samples: Sequence[Sample], book: Book) -> None:
    """Draws small pictures that lead to their samples."""
    st.html(STYLE)
    with st.container(horizontal=True, key="shelf"):
        for sample in samples:
            if (content := at.picture(sample, 264)) is None:
                continue
            with st.container(width=132, gap="xxsmall"):
                st.image(content, width="stretch", alt=Path(sample.filepath).name)
                label = plain(book.labels.get(sample.sample_id, "unlabelled"))
                st.button(label, key=f"to-{sample.sample_id}", type="tertiary", on_click=_go, args=(sample.sample_id,))
    if not samples:
        st.caption("None so far.")


def _go(sample_id: str) -> None:
    st.query_params["sample"] = sample_id


def _choose_label(desk: Desk, shown: Shown, over: Event | None, key: str) -> None:
    if (label := st.session_state[key]) is not None:
        _decide(desk, shown, over, label)


def _decide(desk: Desk, shown: Shown, over: Event | None, label: str | None) -> None:
    quicker = at.decide(desk, shown, label, over=over)
    if quicker is not None and quicker.actor != desk.actor:
        st.toast(f"{plain(who(quicker.actor))} has decided this image meanwhile: look again.")
