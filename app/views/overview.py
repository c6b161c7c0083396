"""The overview: where the project stands, and what to do next."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from gradebook.app import bars, dataframes
from gradebook.app.context import Desk, read_stats
from gradebook.app.figures import common
from gradebook.app.text import ago, capital, listed, percent, plain, shortened
from gradebook.app.views import class_form, next_steps
from gradebook.pipelines.curation.agreement import Agreement
from gradebook.pipelines.curation.queue_items import sentence_of
from gradebook.pipelines.reporting.project_stats import ProjectStats
from gradebook.pipelines.reporting.run_comparison import Row, compare
from gradebook.pipelines.runs import Run, State, list_runs

NAMED = 6  # classes in a sentence


def render(desk: Desk) -> None:
    """Draws the page."""
    st.title(plain(desk.store.project.root.name))
    numbers = read_stats(desk.store)
    if not numbers.samples:
        _begin(desk)
        return
    runs, counts = list_runs(desk.store.project), numbers.labels_per_class
    _numbers(numbers)
    _advice(desk, numbers, runs)
    if desk.beginning:
        return
    left, right = st.columns([1, 2], gap="medium")
    with left:
        st.subheader("Labels of each class")
        if counts:
            bars.counts(counts)
        else:
            st.caption("The project has no classes yet.")
    with right:
        st.subheader("Runs")
        chosen = _table(desk, runs)
    _agreement(numbers.agreement)
    if len(chosen) == 1:
        _curves(chosen[0])
    elif chosen:
        st.subheader(plain(listed([run.name for run in chosen])))
        _figures("-".join(run.name for run in chosen), common.together({run.name: run.metrics() for run in chosen}))


def _begin(desk: Desk) -> None:
    """Says how images come in."""
    st.info("There are no images yet.", icon=":material/add_photo_alternate:")
    if "images" in desk.pages:
        st.page_link(desk.pages["images"], label="Bring some in →", query_params=dict(desk.query))
    st.caption("Or in a terminal:")
    st.code(f"gradebook import {desk.root} FOLDER", language=None)


def _agreement(found: Mapping[str, Agreement]) -> None:
    """Draws how often reviewers agreed with the guesses that they were shown, in all and for each reason."""
    if not found["all"]["answered"]:
        return
    st.subheader("Guesses that reviewers agreed with")
    whys = {name: "All that were shown" if name == "all" else capital(sentence_of(name)) for name in found}
    st.dataframe(
        [
            {"why shown": whys[name], "answered": row["answered"], "guess was right": 100 * row["rate"]}
            for name, row in found.items()
        ],
        key="agreement",
        hide_index=True,
        column_config={
            "guess was right": st.column_config.ProgressColumn(
                min_value=0, max_value=100, format="%d %%", help="A reason with a low share finds mistakes."
            )
        },
    )


def _numbers(numbers: ProjectStats) -> None:
    share = percent(numbers.labelled / numbers.train) if numbers.train else "–"
    shown = [
        ("Samples", numbers.samples, "distinct images"),
        ("Labelled", numbers.labelled, f"{share} of those to train on"),
        ("Unlabelled", numbers.train - numbers.labelled - numbers.rejected, "waiting for a label"),
        ("Test", numbers.samples - numbers.train, "never trained on"),
    ]
    if numbers.rejected:
        shown.append(("Rejected", numbers.rejected, "no class applies"))
    for column, (name, number, note) in zip(st.columns(len(shown)), shown, strict=True):
        with column.container(border=True, height="stretch", gap="xxsmall"):
            st.metric(name, f"{number:,}")
            st.caption(note)


def _advice(desk: Desk, numbers: ProjectStats, runs: list[Run]) -> None:
    """Says the one thing to do next."""
    counts = numbers.labels_per_class
    if not counts:
        class_form.render(desk)
        return
    scarce = [name for name, number in counts.items() if number < next_steps.ENOUGH]
    going = [run for run in runs if run.status().state in (State.STARTING, State.RUNNING)]
    some = [shortened(name) for name in scarce]
    some = some if len(some) <= NAMED else [*some[: NAMED - 1], f"{len(some) - NAMED + 1} others"]
    page, text = "review", "Review what the newest run is least sure of."
    if going:
        page, text = "train", f"{going[-1].name} is training. Watch it, or label on: it takes in what you label."
    elif not runs and not numbers.embedded:
        page, text = "images", "Let a frozen network look at the images once, for quick training and neighbours."
    elif scarce:
        text = f"Label at least {next_steps.ENOUGH} images of each class: {listed(some)} still need some."
    elif not runs:
        page, text = "train", "There are labels enough for a first run."
    with st.container(horizontal=True, vertical_alignment="center", border=True, key="advice"):
        st.markdown(f"**Next:** {plain(text)}", width="stretch")
        if page in desk.pages:
            label = {"images": "Images", "review": "Review", "train": "Train"}[page]
            st.page_link(desk.pages[page], label=f"{label} →", query_params=dict(desk.query))


def _table(desk: Desk, runs: list[Run]) -> list[Run]:
    """Draws the table of runs, newest first, and returns those whose curves to show."""
    if not runs:
        st.caption("No run yet.")
        return []
    newest = runs[::-1]
    beside = {row.run: row for row in compare(desk.store.project)}
    rows = [_row(run, beside[run.name]) for run in newest if run.name in beside]
    chosen = st.dataframe(
        dataframes.filled(rows),
        key="runs",
        hide_index=True,
        selection_mode="multi-row",
        on_select="rerun",
        column_config={
            "progress": st.column_config.ProgressColumn(min_value=0, max_value=100, format="%d %%", width="small"),
            "accuracy": st.column_config.NumberColumn(format="%.1f %%", help="on the validation images, the last seen"),
            "test": st.column_config.NumberColumn(format="%.1f %%", help="accuracy on the test split, when evaluated"),
            "labels": st.column_config.NumberColumn(help="that the run has read so far"),
        },
        placeholder=dataframes.UNKNOWN,
    )
    if len(newest) > 1:
        st.caption("Mark several to see their curves together.")
    marked = chosen["selection"]["rows"] if chosen else []
    return [newest[n] for n in marked if n < len(newest)] or newest[:1]


def _row(run: Run, row: Row) -> dict[str, Any]:
    updated, over = run.status().updated, row.state == State.FINISHED
    return {
        "run": row.run,
        "state": row.state,
        "progress": 100 * row.step / row.steps if row.steps and not over else None,
        "accuracy": None if row.validation_accuracy is None else 100 * row.validation_accuracy,
        "test": None if row.test_accuracy is None else 100 * row.test_accuracy,
        "labels": row.labels,
        "updated": ago(updated) if updated else "",
    }


def _curves(run: Run) -> None:
    st.subheader(f"Curves of {plain(run.name)}")
    if message := run.status().message:
        st.caption(plain(message))
    draw_curves(run)


def draw_curves(run: Run) -> None:
    """Draws what the run has reported, two figures beside each other."""
    _figures(run.name, common.curves(run.metrics()))


def _figures(of: str, named: Mapping[str, Any]) -> None:
    drawn = list(named.items())
    if not drawn:
        st.caption("Nothing was reported yet.")
    for start in range(0, len(drawn), 2):
        for column, (title, figure) in zip(st.columns(2, gap="medium"), drawn[start : start + 2], strict=False):
            column.plotly_chart(figure, key=f"curve-{of}-{title}", config={"displayModeBar": False})
