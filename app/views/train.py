"""The train page: start a run, watch it, stop it. The training is a process of its own; this page reads its files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from gradebook.app import underway
from gradebook.app.context import Desk, read_book, read_training_labels
from gradebook.app.text import count, lasting, plain
from gradebook.app.views import next_steps, train_settings
from gradebook.app.views.overview import draw_curves
from gradebook.pipelines.jobs import commands, launcher
from gradebook.pipelines.jobs.launcher import Job
from gradebook.pipelines.process.job_files import Progress
from gradebook.pipelines.runs import LOG, Run, State, find_run, list_runs
from gradebook.pipelines.training.presets import PRESETS
from gradebook.storage.project import Project, ProjectError

ACTIVE_STATES = (State.STARTING, State.RUNNING)
METHODS = {  # name in `gradebook.mpl.methods`, which needs torch -> what it does
    "mpl": "Meta Pseudo Labels: the teacher learns from how its labels change the student.",
    "reduced_mpl": "Meta Pseudo Labels with a small teacher that corrects one set of stored labels.",
    "supervised": "Labels alone, to compare with.",
    "pseudo_label": "A fixed teacher: the student learns what a teacher trained on the labels says.",
    "noisy_student": "Rounds in which each student becomes the next one's teacher.",
    "uda": "Consistency alone: an image and its strong view should get the same answer.",
    "fixmatch": "Sure answers on the weak view teach the strong one.",
    "flexmatch": "FixMatch with a threshold a class, lower where learning is behind.",
    "freematch": "FixMatch with thresholds that follow how sure the network has become.",
    "softmatch": "FixMatch with weights instead of a threshold.",
    "mean_teacher": "The average of the student's past weights teaches it.",
    "temporal_ensembling": "The average of past answers for an image teaches it.",
    "vat": "Answers must stand against the worst small change of the image.",
    "ict": "Answers must change evenly from one image to another.",
    "mixmatch": "Mixtures of labelled and guessed images.",
    "remixmatch": "MixMatch that keeps the classes in balance and anchors strong views to weak ones.",
}
STYLE = """<style>
@media (min-width: 641px) {
  [data-testid=stColumn]:has(.st-key-start) { flex: 0 0 max(28%, 16.5rem); }
  [data-testid=stColumn]:has(.st-key-start) + [data-testid=stColumn] { flex: 1 1 0; min-width: 0; }
}
@media (max-width: 1200px) { .st-key-watched-curves [data-testid=stColumn] { min-width: 100%; } }
</style>"""  # in a narrow window the curves stand below each other rather than have no room
EVERY = 1.0  # seconds between two looks at a run that goes on
PACE = 10  # reports from which the time that is left is worked out
TAIL = 6000  # bytes of a log that are shown
FACES: dict[State, tuple[str, Any]] = {  # icon and colour
    State.STARTING: (":material/hourglass_top:", "blue"),
    State.RUNNING: (":material/play_circle:", "blue"),
    State.STOPPED: (":material/pause_circle:", "gray"),
    State.FINISHED: (":material/check_circle:", "green"),
    State.FAILED: (":material/error:", "orange"),
}


def render(desk: Desk) -> None:
    """Draws the page."""
    st.title("Train")
    st.html(STYLE)
    left, right = st.columns([3, 7], gap="medium")
    with left:
        _form(desk)
    with right:
        run = _watched(desk)
        if run is None:
            st.caption("No run yet. Choose on the left how to train, and start one.")
            return
        going = run.status().state in ACTIVE_STATES
        st.fragment(_live, run_every=EVERY if going else None)(desk, run, going)


def _form(desk: Desk) -> None:
    labels = len(read_training_labels(desk.store, read_book(desk.store)))
    with st.container(border=True, key="start"):
        st.subheader("Start a run")
        preset = st.selectbox("Preset", list(PRESETS), key="preset")
        st.caption(plain(_promise(preset)))
        method = st.selectbox("Method", list(METHODS), key="method")
        st.caption(plain(METHODS[method]))
        with st.container(horizontal=True):
            steps = st.number_input("Steps", min_value=1, value=None, step=100, placeholder="preset's", key="steps")
            seed = st.number_input("Seed", min_value=0, value=0, key="seed", help="The same seed repeats a run.")
        more = train_settings.choose(preset, method)
        if st.button("Start", key="start-run", type="primary", icon=":material/play_arrow:", disabled=not labels):
            _start(desk, preset, method, steps, seed, more)
        if labels:
            st.caption(
                f"It learns from the {count(labels, 'label')} there are now, and takes in those that you add meanwhile."
            )
        else:
            st.caption("There are no labels to train on: label some images first.")
            next_steps.links(desk, [("review", "Label some")])
        if preset == "quick" and not desk.store.vectors.spaces():
            st.caption("This preset trains on what a frozen network sees in the images, and it has not looked yet.")
            next_steps.links(desk, [("images", "Let it look")])


def _promise(preset: str) -> str:
    """Returns the sentence with which a preset describes itself."""
    return (PRESETS[preset].__doc__ or "").split("\n")[0]


def _start(
    desk: Desk, preset: str, method: str, steps: int | None, seed: int, more: Mapping[str, bool | str | int | float]
) -> None:
    try:
        run = launcher.start_training(
            desk.store.project, preset=preset, method=method, steps=steps, seed=seed, more=more
        )
    except (OSError, ProjectError) as error:
        st.error(plain(str(error)))
        return
    st.session_state["watched"] = run.name
    st.rerun()


def _watched(desk: Desk) -> Run | None:
    """Returns the run to show: the one chosen here, at first the newest."""
    names = [run.name for run in reversed(list_runs(desk.store.project))]
    if not names:
        return None
    kept = st.session_state.get("watched")
    chosen = st.selectbox("Run to watch", names, index=names.index(kept) if kept in names else 0, width=300)
    st.session_state["watched"] = chosen
    return find_run(desk.store.project, chosen)


def _live(desk: Desk, run: Run, was_going: bool) -> None:
    """Draws the run as its files are now; this much of the page is drawn anew every second while it goes on."""
    status = run.status()
    icon, colour = FACES[status.state]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge(status.state.value, icon=icon, color=colour)
        if status.state in ACTIVE_STATES and (job := launcher.find_job(run)) is not None:
            _stop(job)
        if launcher.can_resume(run):
            st.button(
                "Resume", key="resume", on_click=_resume, args=(desk.store.project, run), icon=":material/play_arrow:"
            )
    _progress(run)
    if status.message and status.state is State.FAILED:
        st.error(plain(status.message), icon=":material/error:")
    elif status.message:
        st.markdown(plain(status.message))
    if status.state is State.FINISHED:
        ways = [
            ("review", "Review what it is unsure of"),
            ("evolution", "See how labels moved"),
            ("export", "Export it"),
        ]
        next_steps.links(desk, ways, run=run.name)
    with st.container(key="watched-curves"):
        draw_curves(run)
    with st.expander("What it printed", expanded=status.state is State.FAILED):
        st.code(_tail(run.path / LOG) or "Nothing yet.", language=None, wrap_lines=True)
    if was_going != (status.state in ACTIVE_STATES):  # the page looks at a run every second while it goes on
        st.rerun()


def _stop(job: Job) -> None:
    asked = f"asked-{job.path.name}"
    if st.session_state.get(asked):
        st.button("Kill it", key="kill", on_click=launcher.kill, args=(job,), icon=":material/dangerous:")
        st.caption("It finishes its step and writes a checkpoint first.")
    else:
        st.button("Stop", key="stop", on_click=_interrupt, args=(job, asked), icon=":material/stop:")


def _resume(project: Project, run: Run) -> None:
    st.session_state.pop(f"asked-{run.name}", None)
    launcher.resume_training(project, run)


def _interrupt(job: Job, asked: str) -> None:
    st.session_state[asked] = True
    launcher.interrupt(job)


def _progress(run: Run) -> None:
    status, told = run.status(), _told(run)
    if status.state in ACTIVE_STATES and told is not None and not told.total:
        underway.draw(told.what)
        return
    if status.state is State.STARTING:
        underway.draw("Starting")
        return
    if not status.steps:
        return
    pace = ""
    if status.state is State.RUNNING:
        left = _left(run.metrics(), status.step, status.steps)
        fast = f", {status.images_per_second:,.0f} images a second" if status.images_per_second else ""
        pace = fast + (f", {lasting(left)} left" if left else "")
    step = max(status.step, told.done) if told is not None and status.state is State.RUNNING else status.step
    st.progress(min(step / status.steps, 1.0), text=f"step {step:,} of {status.steps:,}{pace}")


def _told(run: Run) -> Progress | None:
    """Returns what the run's job says of how far it is, more often than the run itself does; None of one without."""
    job = launcher.find_job(run)
    return None if job is None else commands.progress(job)


def _left(rows: Sequence[Mapping[str, Any]], step: int, steps: int) -> float | None:
    """Returns the seconds that a run has left at the pace of its last reports, None before there are two."""
    timed = [row for row in rows if isinstance(row.get("seconds"), int | float)][-PACE:]
    if len(timed) < 2:
        return None
    took, done = timed[-1]["seconds"] - timed[0]["seconds"], timed[-1]["step"] - timed[0]["step"]
    return took / done * max(steps - step, 0) if took > 0 and done > 0 else None


def _tail(log: Path) -> str:
    """Returns the end of a log; a progress bar's carriage returns are line ends."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL))
            return file.read().decode("utf-8", "replace").replace("\r", "\n").strip()
    except FileNotFoundError:
        return ""
