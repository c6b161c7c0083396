"""One image: large, what was said of it step by step and in every run, its entries in the log, and a verdict."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import streamlit as st

from gradebook.app import context as at
from gradebook.app import dataframes, record_access
from gradebook.app.context import Desk
from gradebook.app.figures import sample as figures
from gradebook.app.review_actions import class_keys, shown_of
from gradebook.app.text import ago, count, deed, percent, plain, who
from gradebook.app.views import fiftyone_button, opened, selection
from gradebook.pipelines.curation import nearest_labelled, queue_items
from gradebook.pipelines.curation.event_cache import EventCache
from gradebook.pipelines.curation.proposal import guess
from gradebook.pipelines.curation.queue_items import Row
from gradebook.pipelines.reporting import run_comparison
from gradebook.pipelines.runs import Run, find_run
from gradebook.storage.events import VERDICTS, Event, standing
from gradebook.storage.project import ProjectError
from gradebook.storage.samples import Sample

LARGE = 900  # pixels
NEIGHBOURS = 6
REASONS = 3
MANY, HIGH = 12, 200  # classes whose keys have room; pixels of the frame in which more are scrolled


def render(desk: Desk, sample: Sample) -> None:
    """Draws it."""
    book = at.read_book(desk.store)
    histories = record_access.read_histories(desk, sample.sample_id)
    if "review" in desk.pages:
        query = {**desk.query, **selection.kept()}
        st.page_link(desk.pages["review"], label="Back to review", query_params=query)
    left, right = st.columns([5, 7], gap="large")
    with left:
        _picture(desk, sample)
        st.subheader(plain(book.labels.get(sample.sample_id, "Unlabelled")))
        _verdict(desk, sample, book)
        _facts(sample)
        fiftyone_button.link(desk, [sample.sample_id])
        _events([e for e in book.events if e.sample_id == sample.sample_id])
    with right:
        _history(desk, sample, histories)
    _across(desk, sample, histories)
    _neighbours(desk, sample)


def _picture(desk: Desk, sample: Sample) -> None:
    content = at.picture(desk, sample, LARGE)
    if content is None:
        st.warning("This file cannot be read.", icon=":material/broken_image:")
    else:
        st.image(content, width="stretch", alt=Path(sample.filepath).name)


def _facts(sample: Sample) -> None:
    size = f"{sample.width} × {sample.height} pixels, {sample.split.value} split"
    name, path = plain(Path(sample.filepath).name), plain(sample.filepath)
    st.caption(f"**{name}**  \n{size}  \n{path}  \nsample {sample.sample_id}")


def _verdict(desk: Desk, sample: Sample, book: EventCache) -> None:
    """Draws who decided the label, what the queue proposes, and the means to decide anew."""
    decision = book.decided.get(sample.sample_id)
    st.markdown(f"{plain(deed(decision))}, {ago(decision.at)}" if decision else "Nobody has decided it yet.")
    row, problem = _proposed(desk, sample, book)
    if problem:
        st.caption(f"The queue proposes nothing: {plain(problem)}.")
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if row.label is not None and (decision is None or decision.label != row.label):
            text = f"Accept {plain(row.label)}"
            args = (desk, row, decision, row.label)
            st.button(text, key="accept", type="primary", shortcut="Enter", on_click=_decide, args=args)
            st.caption(_whose(row, desk.run))
        st.button(
            "Reject",
            key="reject",
            icon=":material/block:",
            shortcut="X",
            on_click=_decide,
            args=(desk, row, decision, None),
        )
        if decision is not None and decision.kind in VERDICTS:
            st.button("Undo", key="undo", shortcut="U", on_click=_take_back, args=(desk, decision))
    _classes(desk, row, decision, len(book.events))
    strongest = sorted(row.reasons.items(), key=lambda reason: -reason[1])[:REASONS]
    said = [f"{percent(score)} {plain(queue_items.sentence_of(name))}" for name, score in strongest if score > 0]
    if said:
        st.caption("Why the queue shows it:  \n" + "  \n".join(said))


def _whose(row: Row, run: Run | None) -> str:
    """Says whose guess the queue proposes."""
    if row.proposal is not None:
        return "which somebody asked about"
    reader = "the second reader" if row.given is not None else "the student"
    return f"the guess of {reader} of {plain(run.name if run else '')}, {percent(row.probability)}"


def _classes(desk: Desk, row: Row, decision: Event | None, entries: int) -> None:
    """Draws a key for each class, as on the review page; a box holds those that no key is left for."""
    keys = class_keys(desk.store.project.classes)
    height: int | Literal["content"] = HIGH if len(keys) > MANY else "content"
    with st.container(horizontal=True, gap="xsmall", key="class-keys", height=height, border=False):
        for key, label in keys.items():
            st.button(
                plain(label),
                key=f"key-{key}",
                shortcut=key.upper(),
                on_click=_decide,
                args=(desk, row, decision, label),
            )
    rest = [label for label in desk.store.project.classes if label not in keys.values()]
    if rest:
        key = f"label-{row.sample_id}-{entries}"  # anew after each entry, so that no choice is left over
        st.selectbox(
            "Another class",
            rest,
            index=None,
            placeholder="Another class",
            label_visibility="collapsed",
            key=key,
            on_change=_choose,
            args=(desk, row, decision, key),
            width=220,
        )


def _proposed(desk: Desk, sample: Sample, book: EventCache) -> tuple[Row, str | None]:
    """Returns what the queue proposes, and why it proposes nothing if that is a mishap."""
    try:
        return guess(desk.store, desk.run, sample, book.events, book.decided), None
    except ProjectError as error:
        return queue_items.unseen(sample), str(error)


def _history(desk: Desk, sample: Sample, histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    run = desk.run
    rows = histories.get(run.name, []) if run else []
    if run is None or not rows:
        name = f"{plain(run.name)} has" if run else "There is no run, so there is"
        st.subheader("Nothing was recorded" if run else "No run yet")
        st.caption(f"{name} no record of it: a run records the unlabelled images that it trains on, and no others.")
        return
    given = {
        change.step: change.labels[sample.sample_id] for change in run.changes() if sample.sample_id in change.labels
    }
    last = rows[-1]
    st.subheader(f"Through {plain(run.name)}")
    said = f"It ends as {plain(last['teacher_label'])} to the teacher, " if last["teacher_label"] else "It ends "
    st.markdown(
        f"{said}as {plain(last['student_label'] or 'nothing')} to the student; the teacher changed its mind "
        f"{count(_flips(rows), 'time')} in {count(len(rows), 'record')}."
    )
    figure = figures.history(rows, desk.store.project.classes, given)
    st.plotly_chart(figure, key="history", config={"displayModeBar": False})
    labelled = "A dashed line is the moment at which the run was given a label. " if given else ""
    st.caption(
        f"{labelled}The record keeps the class that each network named, with its probability, and the teacher's "
        "runner-up without one: where a class has a gap, another was named. Feedback is the influence on the student: "
        "above zero, a step towards that class lowered the loss on the labelled images. It is known of the teacher's "
        "class and of the one that would have helped most, and no score of right or wrong."
    )


def _across(desk: Desk, sample: Sample, histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Draws the same image in every run: what was said, and what the run knew and was worth."""
    runs = run_comparison.compare(desk.store.project)
    if len(runs) < 2:
        return
    st.subheader("In every run")
    if said := {name: rows for name, rows in histories.items() if rows}:
        figure = figures.across(said, desk.store.project.classes)
        st.plotly_chart(figure, key="across", config={"displayModeBar": False})
    rows = [_in_run(desk, run, sample, histories.get(run.run, [])) for run in reversed(runs)]
    st.dataframe(
        dataframes.filled(rows),
        key="runs-of-sample",
        hide_index=True,
        column_config={
            "it was given": st.column_config.TextColumn(help="the label of this image that the run has read"),
            "labels": st.column_config.NumberColumn(help="that the run has read"),
            "validation": st.column_config.NumberColumn(format="percent", help="accuracy, the last measured"),
            "test": st.column_config.NumberColumn(format="percent", help="accuracy on the test split"),
        },
        placeholder=dataframes.UNKNOWN,
    )


def _in_run(desk: Desk, run: run_comparison.Row, sample: Sample, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    last: Mapping[str, Any] = rows[-1] if rows else {}
    return {
        "run": run.run,
        "method": run.method,
        "labels": run.labels,
        "it was given": _given(find_run(desk.store.project, run.run), sample.sample_id),
        "teacher": last.get("teacher_label"),
        "student": last.get("student_label"),
        "flips": _flips(rows) if last.get("teacher_label") is not None else None,
        "validation": run.validation_accuracy,
        "test": run.test_accuracy,
    }


def _flips(rows: Sequence[Mapping[str, Any]]) -> int:
    """Returns how often the teacher said another class than at the step before."""
    said = [row["teacher_label"] for row in rows if row["teacher_label"] is not None]
    return sum(before != after for before, after in pairwise(said))


def _given(run: Run, sample_id: str) -> str:
    """Says which label of a sample a run has read, and when."""
    try:
        label = run.labels().get(sample_id)
        changes = [change for change in run.changes() if sample_id in change.labels]
    except ProjectError:
        return ""
    if label is None:
        return "none"
    return f"{label}, at step {changes[-1].step}" if changes else f"{label}, from the start"


def _events(events: Sequence[Event]) -> None:
    st.subheader("In the log")
    if not events:
        st.caption("Nothing yet.")
    stands = {e.event_id for e in standing(events)}
    for e in sorted(events, key=lambda e: e.at, reverse=True):
        text = plain(deed(e)) + (f" {percent(e.confidence)}" if e.confidence is not None else "")
        gone = e.kind in VERDICTS and e.event_id not in stands
        st.markdown(f"{e.at:%Y-%m-%d %H:%M} &nbsp; {f'~~{text}~~' if gone else text}")


def _neighbours(desk: Desk, sample: Sample) -> None:
    backbone = nearest_labelled.backbone_of(desk.store)
    if backbone is None or desk.store.vectors.missing(backbone, [sample.sample_id]):
        return
    st.subheader("It looks like")
    near = [i for i, _ in desk.store.vectors.nearest(backbone, sample.sample_id, NEIGHBOURS)]
    found = {s.sample_id: s for s in desk.store.catalog.get(near)}
    opened.shelf(desk, [found[i] for i in near])


def _choose(desk: Desk, row: Row, over: Event | None, key: str) -> None:
    if (label := st.session_state[key]) is not None:
        _decide(desk, row, over, label)


def _decide(desk: Desk, row: Row, over: Event | None, label: str | None) -> None:
    _tell(desk, at.decide(desk, shown_of(row, desk), label, over=over))


def _take_back(desk: Desk, decision: Event) -> None:
    _tell(desk, at.take_back(desk, decision))


def _tell(desk: Desk, quicker: Event | None) -> None:
    if quicker is not None and quicker.actor != desk.actor:
        st.toast(f"{plain(who(quicker.actor))} has decided this image meanwhile: look again.")
