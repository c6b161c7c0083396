"""The accuracies of a run, each with the number of images and its interval, and a button that evaluates the run."""

import streamlit as st

from gradebook.app.context import PageContext
from gradebook.app.data_access import read_events, read_samples, read_stats
from gradebook.app.job_progress import follow
from gradebook.app.text import count, plain
from gradebook.pipelines.jobs import commands
from gradebook.pipelines.jobs.launcher import Job, JobState
from gradebook.pipelines.reporting.run_card import MIN_IMAGES, Change, Measured, RunCard, run_card
from gradebook.pipelines.runs import Run, list_runs
from gradebook.storage.samples import Split


def draw(context: PageContext, run: Run) -> None:
    """Draws the card."""
    runs = list_runs(context.store.project)
    names = [other.name for other in runs]
    card = run_card(run, runs[: names.index(run.name)] if run.name in names else [])
    tested = _labelled_test_images(context)
    with st.container(horizontal=True, key=f"card-{run.name}"):
        if card.validation is not None:
            title = "Cross-validated accuracy" if card.cross_validated else "Validation accuracy"
            _draw_measured(title, card.validation, "label")
        if card.test is not None:
            _draw_measured("Test accuracy", card.test, "image")
            _draw_baseline(card)
        if card.change is not None:
            _draw_change(card.change)
    if tested and run.has_results:
        _draw_evaluation(context, run, tested, is_new=card.test is None)


def _draw_measured(title: str, value: Measured, noun: str) -> None:
    low, high = value.interval
    with st.container(border=True, width=240, gap="xxsmall"):
        number = f"{value.accuracy:.1%}"
        note = f"{low:.0%} to {high:.0%} (95%), {count(value.n, noun)}" if value.n else "number of labels unknown"
        if value.is_weak:
            st.caption(f"{title}  \n:gray[{number}]  \n{note}: fewer than {MIN_IMAGES} say little")
        else:
            st.metric(title, number)
            st.caption(note)


def _draw_baseline(card: RunCard) -> None:
    if card.baseline is None:
        return
    with st.container(border=True, width=240, gap="xxsmall"):
        st.metric("Logistic regression", f"{card.baseline:.1%}")
        st.caption("same embeddings, labels and test images")


def _draw_change(change: Change) -> None:
    low, high = (100 * value for value in change.interval)
    with st.container(border=True, width=240, gap="xxsmall"):
        st.metric(f"Since {plain(change.since)}", f"{100 * change.difference:+.1f} points")
        certain = "" if low > 0 or high < 0 else "; it may be chance"
        st.caption(f"{low:+.1f} to {high:+.1f} (95%), on {change.on}{certain}")


def _draw_evaluation(context: PageContext, run: Run, tested: int, *, is_new: bool) -> None:
    """Draws the button that evaluates the run on the test split, or the evaluation that is running."""
    job = _evaluation_of(context, run)
    if job is not None and commands.job_state(job) is not JobState.DONE:
        follow(job, first_task="Evaluating", after_stop="Start it again.")
        if commands.job_state(job) is JobState.RUNNING:
            return
    label = f"{'Evaluate' if is_new else 'Evaluate again'} on {count(tested, 'test image')}"
    if st.button(label, key=f"evaluate-{run.name}", icon=":material/quiz:"):
        commands.start_evaluation(context.store.project, run.name)
        st.rerun()


def _evaluation_of(context: PageContext, run: Run) -> Job | None:
    job = commands.newest(context.store.project, "evaluate")
    return job if job is not None and run.name in commands.command_of(job) else None


def _labelled_test_images(context: PageContext) -> int:
    stats = read_stats(context.store)
    if stats.samples == stats.train:  # known without reading tables
        return 0
    labels = read_events(context.store).labels
    samples = read_samples(context.store)
    return sum(samples[i].split is Split.TEST for i in labels if i in samples)
