"""The overview: where the project stands, and what to do next."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from app import bars, figures
from app.desk import Desk, read_numbers
from app.views import naming, onward
from app.words import ago, listed, percent, plain, shortened
from pipelines.agreement import Agreement
from pipelines.overview import Numbers
from pipelines.queue_up import sentence_of
from pipelines.runs import Run, State, list_runs

NAMED = 6  # classes in a sentence


def render(desk: Desk) -> None:
    """Draws the page."""
    st.title(plain(desk.store.project.root.name))
    numbers = read_numbers(desk.store)
    if not numbers.samples:
        _begin(desk)
        return
    runs, counts = list_runs(desk.store.project), numbers.labels_per_class
    _numbers(numbers)
    _advice(desk, numbers, runs)
    left, right = st.columns([2, 3], gap="large")
    with left:
        st.subheader("Labels of each class")
        if counts:
            bars.counts(counts)
        else:
            st.caption("The project has no classes yet.")
    with right:
        st.subheader("Runs")
        chosen = _table(runs)
    _agreement(numbers.agreement)
    if chosen is not None:
        _curves(chosen)


def _begin(desk: Desk) -> None:
    """Says how images come in."""
    st.info("There are no images yet.", icon=":material/add_photo_alternate:")
    if "images" in desk.pages:
        st.page_link(desk.pages["images"], label="Bring some in →", query_params=dict(desk.query))
    st.caption("Or in a terminal:")
    st.code(f"gradebook import {desk.root} FOLDER", language="bash")


def _agreement(found: Mapping[str, Agreement]) -> None:
    """Draws how often reviewers agreed with the guesses that they were shown, in all and for each reason."""
    if not found["all"]["answered"]:
        return
    st.subheader("Guesses that reviewers agreed with")
    whys = {name: "All that were shown" if name == "all" else _sentence(name) for name in found}
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


def _sentence(reason: str) -> str:
    sentence = sentence_of(reason)
    return sentence[:1].upper() + sentence[1:]


def _numbers(numbers: Numbers) -> None:
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


def _advice(desk: Desk, numbers: Numbers, runs: list[Run]) -> None:
    """Says the one thing to do next."""
    counts = numbers.labels_per_class
    if not counts:
        naming.render(desk)
        return
    scarce = [name for name, number in counts.items() if number < onward.ENOUGH]
    going = [run for run in runs if run.status().state in (State.STARTING, State.RUNNING)]
    some = [shortened(name) for name in scarce]
    some = some if len(some) <= NAMED else [*some[: NAMED - 1], f"{len(some) - NAMED + 1} others"]
    page, text = "review", "Review what the newest run is least sure of."
    if going:
        page, text = "train", f"{going[-1].name} is training. Watch it, or label on: it takes in what you label."
    elif not runs and not numbers.embedded:
        page, text = "images", "Let a frozen network look at the images once, for quick training and neighbours."
    elif scarce:
        text = f"Label at least {onward.ENOUGH} images of each class: {listed(some)} still need some."
    elif not runs:
        page, text = "train", "There are labels enough for a first run."
    with st.container(horizontal=True, vertical_alignment="center", border=True, key="advice"):
        st.markdown(f"**Next:** {plain(text)}", width="stretch")
        if page in desk.pages:
            label = {"images": "Images", "review": "Review", "train": "Train"}[page]
            st.page_link(desk.pages[page], label=f"{label} →", query_params=dict(desk.query))


def _table(runs: list[Run]) -> Run | None:
    """Draws the table of runs, newest first, and returns the one whose curves to show."""
    if not runs:
        st.caption("No run yet.")
        return None
    newest = runs[::-1]
    rows = [_row(run) for run in newest]
    unknown = {"accuracy"} if all(row["accuracy"] is None for row in rows) else set()
    chosen = st.dataframe(
        [{name: cell for name, cell in row.items() if name not in unknown} for row in rows],
        key="runs",
        hide_index=True,
        selection_mode="single-row",
        on_select="rerun",
        column_config={
            "progress": st.column_config.ProgressColumn(min_value=0, max_value=100, format="%d %%", width="small"),
            "accuracy": st.column_config.NumberColumn(format="%.1f %%", help="on the validation images, the last seen"),
            "labels": st.column_config.NumberColumn(help="that the run has read so far"),
        },
    )
    marked = chosen["selection"]["rows"] if chosen else []
    return newest[marked[0]] if marked and marked[0] < len(newest) else newest[0]


def _row(run: Run) -> dict[str, Any]:
    status = run.status()
    accuracies = [row["validation_accuracy"] for row in run.metrics() if row.get("validation_accuracy") is not None]
    return {
        "run": run.name,
        "state": status.state.value,
        "progress": 100 * status.step / status.steps if status.steps else None,
        "accuracy": 100 * accuracies[-1] if accuracies else None,
        "labels": len(run.labels()),
        "updated": ago(status.updated) if status.updated else "",
    }


def _curves(run: Run) -> None:
    st.subheader(f"Curves of {plain(run.name)}")
    if message := run.status().message:
        st.caption(plain(message))
    draw_curves(run)


def draw_curves(run: Run) -> None:
    """Draws what the run has reported, two figures beside each other."""
    drawn = list(figures.curves(run.metrics()).items())
    if not drawn:
        st.caption("It has reported nothing yet.")
    for start in range(0, len(drawn), 2):
        for column, (title, figure) in zip(st.columns(2, gap="medium"), drawn[start : start + 2], strict=False):
            column.plotly_chart(figure, key=f"curve-{run.name}-{title}", config={"displayModeBar": False})
