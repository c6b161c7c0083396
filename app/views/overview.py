"""The page Overview: the state of the project, and what to do next."""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from gradebook.app import dataframes
from gradebook.app.context import PageContext
from gradebook.app.data_access import read_stats
from gradebook.app.figures import common
from gradebook.app.job_progress import follow
from gradebook.app.text import ago, capitalized, join_names, percent, plain, shorten
from gradebook.app.views import class_bars, class_form, forecast_panel, next_steps, reviewers, run_card
from gradebook.pipelines.curation.agreement import Agreement
from gradebook.pipelines.curation.label_propagation import ALIKE
from gradebook.pipelines.curation.queue_items import sentence_of
from gradebook.pipelines.jobs import commands
from gradebook.pipelines.jobs.launcher import Job, JobState
from gradebook.pipelines.process.run_status import State
from gradebook.pipelines.reporting.project_stats import ProjectStats
from gradebook.pipelines.reporting.run_comparison import Row, compare
from gradebook.pipelines.runs import Run, list_runs
from gradebook.storage.project import Project

MAX_NAMED = 6  # classes in a sentence


def render(context: PageContext) -> None:
    """Draws the page."""
    project = context.store.project
    st.title(plain(project.root.name))
    numbers = read_stats(context.store)
    if not numbers.samples:
        _draw_empty(context)
        return
    runs = list_runs(project)
    _draw_numbers(numbers)
    if numbers.labels_per_class:
        _draw_next_step(context, *_next_step(numbers, runs, is_embedding=_running_job(project, "embed") is not None))
    if context.first_pass:
        return
    if not numbers.labels_per_class:
        class_form.render(context.store, context.actor)
    _draw_background_job(project)
    left, right = st.columns([1, 2], gap="medium")
    with left:
        st.subheader("Labels per class")
        class_bars.draw(project.styled_classes, numbers.labels_per_class)
    with right:
        st.subheader("Runs")
        selected = _draw_runs(project, runs)
    forecast_panel.draw(context, numbers)
    _draw_agreement(numbers.agreement)
    if numbers.labelled:
        reviewers.draw(context)
    if len(selected) == 1:
        _draw_run(context, selected[0])
    elif selected:
        st.subheader(plain(join_names([run.name for run in selected])))
        figures = common.compare_runs({run.name: run.metrics() for run in selected})
        _draw_figures("-".join(run.name for run in selected), figures)


def draw_curves(run: Run) -> None:
    """Draws the metrics of a run, two figures side by side."""
    _draw_figures(run.name, common.metric_curves(run.metrics()))


def _draw_empty(context: PageContext) -> None:
    """Draws the progress of the first import, or how to import images."""
    if _running_job(context.store.project, "import") is not None:
        if not context.first_pass:
            _draw_background_job(context.store.project)
        return
    st.info("There are no images yet.", icon=":material/add_photo_alternate:")
    next_steps.links(context, [("images", "Import images")])
    st.caption("Or in a terminal:")
    st.code(f"gradebook import {context.store.project.root} FOLDER", language=None)


def _running_job(project: Project, *names: str) -> Job | None:
    job = commands.newest(project, *names)
    return job if job is not None and commands.job_state(job) is JobState.RUNNING else None


def _draw_background_job(project: Project) -> None:
    """Draws the progress of an import or an embedding that is running."""
    if (job := _running_job(project, "import", "embed")) is not None:
        follow(job, first_task="Starting", after_stop="What was done is saved. Continue on the page Images.")


def _draw_numbers(numbers: ProjectStats) -> None:
    share = percent(numbers.labelled / numbers.train) if numbers.train else "–"
    metrics = [
        ("Images", numbers.samples, "without duplicates"),
        ("Labelled", numbers.labelled, f"{share} of the training split"),
        ("Unlabelled", numbers.train - numbers.labelled - numbers.rejected, "in the training split"),
        ("Test", numbers.samples - numbers.train, "never trained on"),
    ]
    if numbers.rejected:
        metrics.append(("Rejected", numbers.rejected, "no class applies"))
    for column, (name, number, note) in zip(st.columns(len(metrics)), metrics, strict=True):
        with column.container(border=True, height="stretch", gap="xxsmall"):
            st.metric(name, f"{number:,}")
            st.caption(note)


def _next_step(numbers: ProjectStats, runs: Sequence[Run], *, is_embedding: bool) -> tuple[str, str]:
    """Returns the page of the one thing to do next, and a sentence."""
    needed = next_steps.MIN_LABELS_PER_CLASS
    scarce = [shorten(name) for name, number in numbers.labels_per_class.items() if number < needed]
    running = [run for run in runs if run.status().state in (State.STARTING, State.RUNNING)]
    if running:
        return "train", f"{running[-1].name} is training. Labels that you add meanwhile are used."
    if is_embedding and scarce:
        return "review", "Label the first images. Their embeddings are computed meanwhile."
    if not runs and not numbers.embedded:
        return "images", "Compute embeddings: quick training and nearest neighbours need them."
    if scarce:
        named = (
            scarce if len(scarce) <= MAX_NAMED else [*scarce[: MAX_NAMED - 1], f"{len(scarce) - MAX_NAMED + 1} others"]
        )
        return "review", f"Label at least {needed} images of each class. Classes with fewer: {join_names(named)}."
    if not runs:
        return "train", "There are enough labels for a first run."
    return "review", "Review the images that the newest run is least certain about."


def _draw_next_step(context: PageContext, page: str, text: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center", border=True, key="next-step"):
        st.markdown(f"**Next:** {plain(text)}", width="stretch")
        if page in context.pages:
            label = f"{page.capitalize()} →"
            st.page_link(context.pages[page], label=label, query_params=dict(context.query))


def _draw_agreement(agreement: Mapping[str, Agreement]) -> None:
    """Draws how often reviewers accepted the predictions that they were shown, in total and for each reason."""
    agreement = {name: row for name, row in agreement.items() if row["answered"]}
    if not agreement:
        return
    st.subheader("Accepted predictions")
    names = {"all": "All", ALIKE[0]: "Labels of similar images, which no model predicted"}
    reasons = {name: names.get(name) or capitalized(sentence_of(name)) for name in agreement}
    st.dataframe(
        [
            {"reason": reasons[name], "reviewed": row["answered"], "accepted": 100 * row["rate"]}
            for name, row in agreement.items()
        ],
        key="agreement",
        hide_index=True,
        column_config={
            "accepted": st.column_config.ProgressColumn(
                min_value=0, max_value=100, format="%d%%", help="A reason with a low share finds wrong predictions."
            )
        },
    )


def _draw_runs(project: Project, runs: Sequence[Run]) -> list[Run]:
    """Draws a table of the runs, newest first, and returns the selected ones, or else the newest."""
    if not runs:
        st.caption("No run yet.")
        return []
    newest = list(runs)[::-1]
    summaries = {row.run: row for row in compare(project)}
    rows = [_run_row(run, summaries[run.name]) for run in newest if run.name in summaries]
    event = st.dataframe(
        dataframes.drop_empty_columns(rows),
        key="runs",
        hide_index=True,
        selection_mode="multi-row",
        on_select="rerun",
        column_config={
            "progress": st.column_config.ProgressColumn(min_value=0, max_value=100, format="%d%%", width="small"),
            "validation": st.column_config.NumberColumn(format="%.1f%%", help="Latest validation accuracy."),
            "test": st.column_config.NumberColumn(format="%.1f%%", help="Test accuracy, if the run was evaluated."),
            "labels": st.column_config.NumberColumn(help="The number of labels that the run has read."),
        },
        placeholder=dataframes.MISSING,
    )
    if len(newest) > 1:
        st.caption("Select several runs to compare their curves.")
    selected = event["selection"]["rows"] if event else []
    return [newest[n] for n in selected if n < len(newest)] or newest[:1]


def _run_row(run: Run, row: Row) -> dict[str, Any]:
    updated, finished = run.status().updated, row.state == State.FINISHED
    return {
        "run": row.run,
        "state": row.state,
        "progress": 100 * row.step / row.steps if row.steps and not finished else None,
        "validation": None if row.validation_accuracy is None else 100 * row.validation_accuracy,
        "test": None if row.test_accuracy is None else 100 * row.test_accuracy,
        "labels": row.labels,
        "updated": ago(updated) if updated else "",
    }


def _draw_run(context: PageContext, run: Run) -> None:
    st.subheader(f"Metrics of {plain(run.name)}")
    if message := run.status().message:
        st.caption(plain(message))
    run_card.draw(context, run)
    draw_curves(run)


def _draw_figures(name: str, figures: Mapping[str, Any]) -> None:
    items = list(figures.items())
    if not items:
        st.caption("No metrics yet.")
    for start in range(0, len(items), 2):
        for column, (title, figure) in zip(st.columns(2, gap="medium"), items[start : start + 2], strict=False):
            column.plotly_chart(figure, key=f"curve-{name}-{title}", config={"displayModeBar": False})
