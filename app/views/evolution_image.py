"""One image: its predictions at each step and in every run, its entries in the log, and the buttons to label it."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import streamlit as st

from gradebook.app import dataframes, record_access
from gradebook.app.context import PageContext
from gradebook.app.data_access import read_events, read_image, unreadable_text
from gradebook.app.figures import sample as figures
from gradebook.app.figures.common import class_colors
from gradebook.app.review_actions import class_keys, decide, undo_verdict
from gradebook.app.text import actor_name, ago, count, describe_event, percent, plain
from gradebook.app.views import fiftyone_button, sample_gallery, selection
from gradebook.pipelines.curation import nearest_labelled, queue_items
from gradebook.pipelines.curation.event_cache import EventCache
from gradebook.pipelines.curation.proposal import guess
from gradebook.pipelines.curation.queue_items import Row, Source
from gradebook.pipelines.curation.verdicts import shown_of
from gradebook.pipelines.reporting import run_comparison
from gradebook.pipelines.reporting.label_effect import label_effect
from gradebook.pipelines.runs import Run, find_run
from gradebook.storage.events import VERDICTS, Event, standing
from gradebook.storage.project import Project, ProjectError
from gradebook.storage.samples import Sample
from gradebook.storage.store import Store

IMAGE_PX = 900
MAX_NEIGHBOURS = 6
MAX_REASONS = 3
MAX_FREE_KEYS, KEYS_HEIGHT = 12, 200  # with more classes, their buttons scroll in a box of this height in pixels

Histories = Mapping[str, Sequence[Mapping[str, Any]]]  # run -> rows of its record


def render(context: PageContext, sample: Sample) -> None:
    """Draws the image."""
    store = context.store
    events = read_events(store)
    histories = record_access.histories_by_run(store, sample.sample_id)
    if "review" in context.pages:
        query = {**context.query, **selection.query()}
        st.page_link(context.pages["review"], label="Back to review", query_params=query)
    left, right = st.columns([5, 7], gap="large")
    with left:
        _draw_picture(store.project, sample)
        st.subheader(plain(events.labels.get(sample.sample_id, "Unlabelled")))
        _draw_decision(context, sample, events)
        _draw_facts(sample)
        fiftyone_button.draw(store.project, [sample.sample_id], context.run)
        _draw_log([e for e in events.events if e.sample_id == sample.sample_id])
    with right:
        _draw_history(store.project, context.run, sample, histories)
    _draw_runs(store.project, sample, histories)
    _draw_neighbours(context, sample)


def _draw_picture(project: Project, sample: Sample) -> None:
    content = read_image(project, sample, IMAGE_PX)
    if content is None:
        st.warning(plain(unreadable_text(sample)), icon=":material/broken_image:")
    else:
        st.image(content, width="stretch", alt=Path(sample.filepath).name)


def _draw_facts(sample: Sample) -> None:
    name, path = plain(Path(sample.filepath).name), plain(sample.filepath)
    size = f"{sample.width} × {sample.height} pixels, {sample.split.value} split"
    st.caption(f"**{name}**  \n{size}  \n{path}  \nsample {sample.sample_id}")


def _draw_decision(context: PageContext, sample: Sample, events: EventCache) -> None:
    """Draws who decided the label, the queue's prediction, and the buttons to decide again."""
    decision = events.decided.get(sample.sample_id)
    if decision is not None:
        st.markdown(f"{plain(describe_event(decision))}, {ago(decision.at)}")
    row, problem = _queue_row(context.store, context.run, sample, events)
    if problem:
        st.caption(f"There is no prediction: {plain(problem)}.")
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if row.label is not None and (decision is None or decision.label != row.label):
            label, args = f"Accept {plain(row.label)}", (context, row, decision, row.label)
            st.button(label, key="accept", type="primary", shortcut="Enter", on_click=_decide, args=args)
            st.caption(_source(row, context.run))
        reject: tuple[Any, ...] = (context, row, decision, None)
        icon, title = ":material/block:", "Rejected: no class applies."
        st.button("Reject", key="reject", icon=icon, help=title, shortcut="X", on_click=_decide, args=reject)
        if decision is not None and decision.kind in VERDICTS:
            st.button("Undo", key="undo", shortcut="U", on_click=_undo, args=(context, decision))
    _draw_classes(context, row, decision, len(events.events))
    strongest = sorted(row.reasons.items(), key=lambda reason: -reason[1])[:MAX_REASONS]
    reasons = [
        f"{percent(score)} {plain(queue_items.reason_text(row, name))}" for name, score in strongest if score > 0
    ]
    if reasons:
        st.caption("Reasons to review it:  \n" + "  \n".join(reasons))


def _source(row: Row, run: Run | None) -> str:
    """Returns whose prediction the row has."""
    if row.source is Source.NEIGHBOURS:
        return "the label of a similar image, no prediction"
    if row.proposal is not None:
        return "proposed by a reviewer"
    model = "linear probe" if row.given is not None else "student"
    return f"predicted by the {model} of {plain(run.name if run else '')}, {percent(row.probability)}"


def _draw_classes(context: PageContext, row: Row, decision: Event | None, number_of_events: int) -> None:
    """Draws a button with a key for each class, as on the page Review, and a box of the classes without a key."""
    classes = context.store.project.classes
    keys = class_keys(context.store.project.styled_classes)
    height: int | Literal["content"] = KEYS_HEIGHT if len(keys) > MAX_FREE_KEYS else "content"
    with st.container(horizontal=True, gap="xsmall", key="class-keys", height=height, border=False):
        for key, label in keys.items():
            args = (context, row, decision, label)
            st.button(plain(label), key=f"key-{key}", shortcut=key.upper(), on_click=_decide, args=args)
    others = [label for label in classes if label not in keys.values()]
    if others:
        box = f"label-{row.sample_id}-{number_of_events}"  # a new box after each event, so that it is empty again
        st.selectbox(
            "Another class",
            others,
            index=None,
            placeholder="Another class",
            label_visibility="collapsed",
            key=box,
            on_change=_decide_selected,
            args=(context, row, decision, box),
            width=220,
        )


def _queue_row(store: Store, run: Run | None, sample: Sample, events: EventCache) -> tuple[Row, str | None]:
    """Returns the sample's row in the queue, and the error because of which it has no prediction, if any."""
    try:
        return guess(store, run, sample, events.events, events.decided), None
    except ProjectError as error:
        return queue_items.empty_row(sample), str(error)


def _draw_history(project: Project, run: Run | None, sample: Sample, histories: Histories) -> None:
    """Draws the record of the image in one run."""
    rows = histories.get(run.name, []) if run else []
    if run is None or not rows:
        st.subheader("No record" if run else "No run yet")
        if run is not None:
            name = plain(run.name)
            st.caption(f"{name} did not record this image: a run records the unlabelled images that it trains on.")
        return
    given = {
        change.step: change.labels[sample.sample_id] for change in run.changes() if sample.sample_id in change.labels
    }
    st.subheader(f"Record of {plain(run.name)}")
    st.markdown(_summarize(rows))
    if effect := label_effect(rows):
        st.markdown(plain(effect))
    figure = figures.training_history(rows, class_colors(project.styled_classes), given)
    st.plotly_chart(figure, key="history", config={"displayModeBar": False})
    labelled = "A dashed line is the step at which the run was given a label. " if given else ""
    st.caption(
        f"{labelled}The record has the class that each network predicted and its probability, and the teacher's second "
        "choice; a line has gaps where another class was predicted. Feedback is the influence on the student: above "
        "zero, a step towards that class lowered the loss on the labelled images. It is known for the teacher's class "
        "and for the best class, and does not say which class is correct."
    )


def _summarize(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns the final predictions of a record, and how often the teacher's changed."""
    last = rows[-1]
    teacher = f"Final teacher prediction: **{plain(last['teacher_label'])}**. " if last["teacher_label"] else ""
    student = f"Final student prediction: **{plain(last['student_label'] or 'none')}**. "
    changes = (
        f"The teacher's prediction changed {count(_label_changes(rows), 'time')} in " if teacher else "Recorded at "
    )
    return f"{teacher}{student}{changes}{count(len(rows), 'checkpoint')}."


def _draw_runs(project: Project, sample: Sample, histories: Histories) -> None:
    """Draws the predictions for the image in every run, and what each run had learned from."""
    runs = run_comparison.compare(project)
    if len(runs) < 2:
        return
    st.subheader("In every run")
    if recorded := {name: rows for name, rows in histories.items() if rows}:
        figure = figures.across_runs(recorded, class_colors(project.styled_classes))
        st.plotly_chart(figure, key="across", config={"displayModeBar": False})
    rows = [_run_row(project, run, sample, histories.get(run.run, [])) for run in reversed(runs)]
    st.dataframe(
        dataframes.drop_empty_columns(rows),
        key="runs-of-sample",
        hide_index=True,
        column_config={
            "label given": st.column_config.TextColumn(help="The label of this image that the run has read."),
            "labels": st.column_config.NumberColumn(help="The number of labels that the run has read."),
            "label changes": st.column_config.NumberColumn(help="How often the teacher's prediction changed."),
            "validation": st.column_config.NumberColumn(format="percent", help="Latest validation accuracy."),
            "test": st.column_config.NumberColumn(format="percent", help="Test accuracy."),
        },
        placeholder=dataframes.MISSING,
    )


def _run_row(
    project: Project, run: run_comparison.Row, sample: Sample, rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    last: Mapping[str, Any] = rows[-1] if rows else {}
    return {
        "run": run.run,
        "method": run.method,
        "labels": run.labels,
        "label given": _label_given(find_run(project, run.run), sample.sample_id),
        "teacher": last.get("teacher_label"),
        "student": last.get("student_label"),
        "label changes": _label_changes(rows) if last.get("teacher_label") is not None else None,
        "validation": run.validation_accuracy,
        "test": run.test_accuracy,
    }


def _label_changes(rows: Sequence[Mapping[str, Any]]) -> int:
    """Returns how often the teacher predicted another class than at its previous record."""
    labels = [row["teacher_label"] for row in rows if row["teacher_label"] is not None]
    return sum(before != after for before, after in pairwise(labels))


def _label_given(run: Run, sample_id: str) -> str:
    """Returns the label of a sample that a run has read, and when."""
    try:
        label = run.labels().get(sample_id)
        changes = [change for change in run.changes() if sample_id in change.labels]
    except ProjectError:
        return ""
    if label is None:
        return "none"
    return f"{label}, at step {changes[-1].step}" if changes else f"{label}, from the start"


def _draw_log(events: Sequence[Event]) -> None:
    """Draws the entries of the log, the newest first; those that were undone are struck out."""
    st.subheader("Log")
    if not events:
        st.caption("No entries yet.")
    valid = {e.event_id for e in standing(events)}
    for e in sorted(events, key=lambda e: e.at, reverse=True):
        text = plain(describe_event(e)) + (f" {percent(e.confidence)}" if e.confidence is not None else "")
        undone = e.kind in VERDICTS and e.event_id not in valid
        st.markdown(f"{e.at:%Y-%m-%d %H:%M} &nbsp; {f'~~{text}~~' if undone else text}")


def _draw_neighbours(context: PageContext, sample: Sample) -> None:
    store = context.store
    backbone = nearest_labelled.backbone_of(store)
    if backbone is None or store.vectors.missing(backbone, [sample.sample_id]):
        return
    st.subheader("Nearest neighbours")
    nearest = [i for i, _ in store.vectors.nearest(backbone, sample.sample_id, MAX_NEIGHBOURS)]
    samples = {s.sample_id: s for s in store.catalog.get(nearest)}
    sample_gallery.draw_thumbnails(context, [samples[i] for i in nearest])


def _decide_selected(context: PageContext, row: Row, expected: Event | None, key: str) -> None:
    if (label := st.session_state[key]) is not None:
        _decide(context, row, expected, label)


def _decide(context: PageContext, row: Row, expected: Event | None, label: str | None) -> None:
    shown = shown_of(row, context.run.name if context.run else None)
    try:
        _report_conflict(context.actor, decide(context.store, context.actor, shown, label, expected=expected))
    except ProjectError as error:
        st.toast(plain(str(error)))


def _undo(context: PageContext, decision: Event) -> None:
    _report_conflict(context.actor, undo_verdict(context.store, context.actor, decision))


def _report_conflict(actor: str, existing: Event | None) -> None:
    if existing is not None and existing.actor != actor:
        st.toast(f"{plain(actor_name(existing.actor))} has decided this image before you: check the label.")
