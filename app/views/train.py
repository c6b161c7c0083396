"""The page Train: start, follow and stop a run. Training is a separate process; this page reads its files."""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from gradebook.app.context import PageContext
from gradebook.app.data_access import training_labels
from gradebook.app.job_progress import POLL_INTERVAL_S, clear_stop, draw_log, draw_task, stop_button
from gradebook.app.text import count, duration, plain
from gradebook.app.views import next_steps, run_card, train_settings
from gradebook.app.views.overview import draw_curves
from gradebook.pipelines.jobs import commands, launcher
from gradebook.pipelines.process.job_files import Progress
from gradebook.pipelines.process.run_status import State
from gradebook.pipelines.runs import LOG, Run, find_run, list_runs
from gradebook.pipelines.training.presets import PRESETS, RESEARCH
from gradebook.storage.project import Project, ProjectError

ACTIVE_STATES = (State.STARTING, State.RUNNING)
METHODS = {  # name in `gradebook.mpl.methods`, which needs torch -> what it does
    "mpl": "Meta Pseudo Labels: the teacher learns from how its labels change the student.",
    "reduced_mpl": "Meta Pseudo Labels with a small teacher that corrects one set of stored labels.",
    "supervised": "Labelled images only, as a baseline.",
    "pseudo_label": "A teacher trained on the labels, then fixed, labels the images for the student.",
    "noisy_student": "Rounds of self-training: each student is the next one's teacher.",
    "uda": "Consistency training: a strong view should get the prediction of the original image.",
    "fixmatch": "Confident predictions on weak views are the labels of strong views.",
    "flexmatch": "FixMatch with a lower threshold for classes that learn slowly.",
    "freematch": "FixMatch with thresholds that follow the network's confidence.",
    "softmatch": "FixMatch with weights instead of a threshold.",
    "mean_teacher": "The teacher is an average of the student's past weights.",
    "temporal_ensembling": "The target of an image is an average of its past predictions.",
    "vat": "Predictions should not change under the worst small change of the image.",
    "ict": "Predictions should change linearly between two images.",
    "mixmatch": "Trains on mixtures of labelled and pseudo-labelled images.",
    "remixmatch": "MixMatch with balanced classes and strong views anchored to weak ones.",
}
STYLE = """<style>
@media (min-width: 641px) {
  [data-testid=stColumn]:has(.st-key-start) { flex: 0 0 max(28%, 16.5rem); }
  [data-testid=stColumn]:has(.st-key-start) + [data-testid=stColumn] { flex: 1 1 0; min-width: 0; }
}
@media (max-width: 1200px) { .st-key-run-curves [data-testid=stColumn] { min-width: 100%; } }
</style>"""  # in a narrow window the curves stand below each other
PACE_ROWS = 10  # latest rows of the metrics from which the remaining time is estimated
BADGES: dict[State, tuple[str, Any]] = {  # icon and colour
    State.STARTING: (":material/hourglass_top:", "blue"),
    State.RUNNING: (":material/play_circle:", "blue"),
    State.STOPPED: (":material/pause_circle:", "gray"),
    State.FINISHED: (":material/check_circle:", "green"),
    State.FAILED: (":material/error:", "orange"),
}


def render(context: PageContext) -> None:
    """Draws the page."""
    st.title("Train")
    st.html(STYLE)
    left, right = st.columns([3, 7], gap="medium")
    with left:
        _draw_form(context)
    with right:
        run = _choose_run(context.store.project)
        if run is None:
            st.caption("No run yet. Choose a preset and a method, then start one.")
            return
        running = run.status().state in ACTIVE_STATES
        st.fragment(_draw_run, run_every=POLL_INTERVAL_S if running else None)(context, run, running)


def _draw_form(context: PageContext) -> None:
    """Draws the form that starts a run."""
    store = context.store
    labels = len(training_labels(store))
    with st.container(border=True, key="start"):
        st.subheader("Start a run")
        shown = [name for name in PRESETS if name not in RESEARCH or st.session_state.get("research")]
        preset = st.selectbox("Preset", shown, key="preset")
        st.caption(plain((PRESETS[preset].__doc__ or "").split("\n")[0]))
        st.checkbox("Research presets", key="research", help="The experiments of papers, and very large networks.")
        method = st.selectbox("Method", list(METHODS), key="method")
        st.caption(plain(METHODS[method]))
        with st.container(horizontal=True):
            steps = st.number_input("Steps", min_value=1, value=None, step=100, placeholder="preset's", key="steps")
            seed = st.number_input("Seed", min_value=0, value=0, key="seed", help="The same seed repeats a run.")
        options = {"steps": steps, "seed": seed, "more": train_settings.choose(preset, method)}
        if st.button("Start", key="start-run", type="primary", icon=":material/play_arrow:", disabled=not labels):
            _start(store.project, preset, method, options)
        if labels:
            st.caption(f"Uses the {count(labels, 'label')} of the training split, and those that you add meanwhile.")
        else:
            st.caption("There are no labels to train on yet.")
            next_steps.links(context, [("review", "Label some images")])
        if preset == "quick" and not store.vectors.spaces():
            st.caption("This preset trains on embeddings, which have not been computed yet.")
            next_steps.links(context, [("images", "Compute embeddings")])


def _start(project: Project, preset: str, method: str, options: Mapping[str, Any]) -> None:
    try:
        run = launcher.start_training(project, preset=preset, method=method, **options)
    except (OSError, ProjectError) as error:
        st.error(plain(str(error)))
        return
    st.session_state["shown-run"] = run.name
    st.rerun()


def _choose_run(project: Project) -> Run | None:
    """Returns the run to show: the one chosen here, at first the newest."""
    names = [run.name for run in reversed(list_runs(project))]
    if not names:
        return None
    last = st.session_state.get("shown-run")
    chosen = st.selectbox("Show run", names, index=names.index(last) if last in names else 0, width=300)
    st.session_state["shown-run"] = chosen
    return find_run(project, chosen)


def _draw_run(context: PageContext, run: Run, was_running: bool) -> None:
    """Draws the current state of the run. While it runs, this part of the page is drawn again every second."""
    status = run.status()
    icon, color = BADGES[status.state]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge(status.state.value, icon=icon, color=color)
        if status.state in ACTIVE_STATES and (job := launcher.find_job(run)) is not None:
            stop_button(job)
        if launcher.can_resume(run):
            args = (context.store.project, run)
            st.button("Resume", key="resume", on_click=_resume, args=args, icon=":material/play_arrow:")
    _draw_progress(run)
    if status.message and status.state is State.FAILED:
        st.error(plain(status.message), icon=":material/error:")
    elif status.message:
        st.markdown(plain(status.message))
    if status.state is State.FINISHED:
        steps = [("review", "Review the most uncertain images"), ("evolution", "Label evolution"), ("export", "Export")]
        next_steps.links(context, steps, run=run.name)
        run_card.draw(context, run)
    with st.container(key="run-curves"):
        draw_curves(run)
    draw_log(run.path / LOG, expanded=status.state is State.FAILED)
    if was_running != (status.state in ACTIVE_STATES):
        st.rerun()


def _resume(project: Project, run: Run) -> None:
    clear_stop(run.name)
    launcher.resume_training(project, run)


def _draw_progress(run: Run) -> None:
    """Draws how far a run is, or what it does before its first step and after its last."""
    status, progress = run.status(), _job_progress(run)
    if status.state in ACTIVE_STATES and progress is not None and not progress.total:
        draw_task(progress.what)
        return
    if status.state is State.STARTING:
        draw_task("Starting")
        return
    if not status.steps:
        return
    pace, step = "", status.step
    if status.state is State.RUNNING:
        seconds = _seconds_left(run.metrics(), status.step, status.steps)
        speed = f", {status.images_per_second:,.0f} images per second" if status.images_per_second else ""
        pace = speed + (f", {duration(seconds)} left" if seconds else "")
        step = max(status.step, progress.done) if progress is not None else status.step
    st.progress(min(step / status.steps, 1.0), text=f"step {step:,} of {status.steps:,}{pace}")


def _job_progress(run: Run) -> Progress | None:
    """Returns the progress of the run's job, which reports more often than the run itself; None without a job."""
    job = launcher.find_job(run)
    return None if job is None else commands.progress(job)


def _seconds_left(rows: Sequence[Mapping[str, Any]], step: int, steps: int) -> float | None:
    """Returns the remaining time of a run at its latest pace, None before two rows have times."""
    timed = [row for row in rows if isinstance(row.get("seconds"), int | float)][-PACE_ROWS:]
    if len(timed) < 2:
        return None
    seconds, done = timed[-1]["seconds"] - timed[0]["seconds"], timed[-1]["step"] - timed[0]["step"]
    return seconds / done * max(steps - step, 0) if seconds > 0 and done > 0 else None
