"""Following a job on a page: how far it is, a way to stop it, and how it ended. The job outlives the page."""

import streamlit as st

from gradebook.app import underway
from gradebook.app.context import forget_samples
from gradebook.app.text import plain, sentence
from gradebook.pipelines.jobs import commands, launcher
from gradebook.pipelines.jobs.launcher import Job, JobState
from gradebook.pipelines.process.job_files import Progress

EVERY = 1.0  # seconds between two looks at a job that goes on
DOING = {  # what commands call what they do -> what it is to people
    "unpack": "Unpacking the zip",
    "import": "Reading images",
    "embed": "Looking at images",
    "export-labels": "Copying images",
    "move": "Bringing like images together",
}
TAIL = 6000  # bytes of a log that are shown


def follow(job: Job, *, doing: str, stopped: str) -> JobState:
    """Draws how a job is, and returns it; while it goes on, this much of the page is drawn anew every second.

    Args:
        job: one of gradebook's commands.
        doing: what it does first, shown until it tells itself.
        stopped: what to do where somebody has stopped it.
    """
    ending = commands.job_state(job)
    going = ending is JobState.RUNNING
    st.fragment(_live, run_every=EVERY if going else None)(job, going, doing, stopped)
    return ending


def _live(job: Job, was_going: bool, doing: str, stopped: str) -> None:
    ending = commands.job_state(job)
    if ending is JobState.RUNNING:
        _going(job, doing)
    elif was_going:
        forget_samples()
        st.rerun()
    elif ending is JobState.FAILED and commands.was_stopped(job):
        st.info(f"Stopped. {plain(stopped)}", icon=":material/pause_circle:")
    elif ending is JobState.FAILED:
        st.error(plain(sentence(commands.failure_message(job)) or "It failed without a word."), icon=":material/error:")
        with st.expander("What it printed"):
            st.code(_tail(job) or "Nothing.", language=None, wrap_lines=True)


def _going(job: Job, doing: str) -> None:
    told = commands.progress(job)
    if told is None or not told.done or not told.total:
        underway.draw(doing if told is None else _words(told))
    else:
        st.progress(min(told.done / told.total, 1.0), text=_words(told) if told.what in DOING else plain(_words(told)))
    asked = f"asked-{job.path.name}"
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.session_state.get(asked):
            st.button(
                "Kill it", key=f"kill-{job.path.name}", on_click=launcher.kill, args=(job,), icon=":material/dangerous:"
            )
            st.caption("It has been asked to stop and writes what it has done.")
        else:
            key = f"stop-{job.path.name}"
            st.button("Stop", key=key, on_click=_interrupt, args=(job, asked), icon=":material/stop:")
            st.caption("It goes on if you close this page.")


def _words(told: Progress) -> str:
    """Returns what a job says that it does, and how far it is where it knows."""
    doing = DOING.get(told.what, told.what)
    if not told.total:
        return doing
    if told.what in DOING:
        return f"{doing}: {told.done:,} of {told.total:,}"
    return f"{doing} ({told.done + 1} of {told.total})"  # a stage, told in a sentence of its own


def _tail(job: Job) -> str:
    """Returns the end of what a job printed; a progress bar's carriage returns are line ends."""
    try:
        with job.log.open("rb") as file:
            file.seek(max(0, job.log.stat().st_size - TAIL))
            return file.read().decode("utf-8", "replace").replace("\r", "\n").strip()
    except FileNotFoundError:
        return ""


def _interrupt(job: Job, asked: str) -> None:
    st.session_state[asked] = True
    launcher.interrupt(job)
