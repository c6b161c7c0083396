"""The forecast of accuracy with more labels, on the page Overview."""

from typing import Any

import streamlit as st

from gradebook.app import dataframes
from gradebook.app.context import PageContext
from gradebook.app.job_progress import follow
from gradebook.app.text import plain
from gradebook.pipelines.inference.forecast import MIN_LABELS, saved_forecast
from gradebook.pipelines.jobs import commands
from gradebook.pipelines.jobs.launcher import JobState
from gradebook.pipelines.reporting.project_stats import ProjectStats


def draw(context: PageContext, numbers: ProjectStats) -> None:
    """Draws the newest forecast, and a button that makes one of the present labels."""
    if numbers.labelled < MIN_LABELS or not numbers.embedded:
        return
    st.subheader("Are more labels worth it?")
    saved = saved_forecast(context.store.project)
    if saved is not None:
        _draw_forecast(*saved)
    job = commands.newest(context.store.project, "forecast")
    if job is not None and commands.job_state(job) is not JobState.DONE:
        follow(job, first_task="Fitting to parts of the labels", after_stop="Start it again.")
        if commands.job_state(job) is JobState.RUNNING:
            return
    if saved is None or not saved[1]:
        label = "Forecast" if saved is None else "Forecast again"
        if st.button(label, key="forecast", icon=":material/trending_up:"):
            commands.start_forecast(context.store.project)
            st.rerun()


def _draw_forecast(result: dict[str, Any], is_current: bool) -> None:
    st.markdown(f"**{plain(result['sentence'])}**")
    rows = [("now", result["labels"], result["accuracy"], result["interval"], None)]
    rows += [("expected", r["labels"], r["accuracy"], r["interval"], r["gain"]) for r in result["expected"]]
    st.dataframe(
        [
            {
                "": what,
                "labels": labels,
                "accuracy": f"{accuracy:.1%}",
                "95 % interval": f"{max(interval[0], 0):.0%} to {min(interval[1], 1):.0%}",
                "gain, points": None if gain is None else round(100 * gain, 1),
            }
            for what, labels, accuracy, interval, gain in rows
        ],
        key="forecast-table",
        hide_index=True,
        placeholder=dataframes.MISSING,
    )
    note = f"Logistic regression on the embeddings, by {result['scored_on']} on {result['scored']} images."
    st.caption(plain(note if is_current else f"{note} Labels have changed since."))
