"""The progress of a background job on a page, with a button to stop it. The job continues if the page is closed."""

from pathlib import Path

import streamlit as st

from gradebook.app.data_access import clear_samples
from gradebook.app.text import as_sentence, plain
from gradebook.pipelines.jobs import commands, launcher
from gradebook.pipelines.jobs.launcher import Job, JobState
from gradebook.pipelines.process.job_files import Progress

POLL_INTERVAL_S = 1.0  # of a running job
TASKS = {  # a task of a command -> its title on the page
    "unpack": "Unpacking the archive",
    "import": "Reading images",
    "embed": "Computing embeddings",
    "export-labels": "Copying images",
    "move": "Arranging the map",
}
LOG_TAIL_BYTES = 6000


def follow(job: Job, *, first_task: str, after_stop: str) -> JobState:
    """Draws the state of a job and returns it; a running job is drawn again every second.

    Args:
        job: a job that runs a command of gradebook.
        first_task: the title until the job reports its own progress.
        after_stop: how to continue after the job was stopped.
    """
    state = commands.job_state(job)
    running = state is JobState.RUNNING
    st.fragment(_draw, run_every=POLL_INTERVAL_S if running else None)(job, running, first_task, after_stop)
    return state


def draw_task(title: str) -> None:
    """Draws a task whose length is unknown."""
    st.status(plain(title), state="running", type="compact")


def stop_button(job: Job) -> None:
    """Draws a button that interrupts a job; once it is used, a button that kills the job."""
    name = job.path.name
    with st.container(horizontal=True, vertical_alignment="center"):
        if is_stopping(job):
            st.button("Kill", key=f"kill-{name}", on_click=launcher.kill, args=(job,), icon=":material/dangerous:")
            st.caption("Stopping: it saves its work first.")
        else:
            st.button("Stop", key=f"stop-{name}", on_click=_interrupt, args=(job,), icon=":material/stop:")
            st.caption("It continues if you close this page.")


def is_stopping(job: Job) -> bool:
    """Returns whether Stop was used in this session."""
    return bool(st.session_state.get(_stop_key(job)))


def clear_stop(job_name: str) -> None:
    """Forgets that Stop was used, because the job starts again."""
    st.session_state.pop(f"stopping-{job_name}", None)


def log_tail(log: Path) -> str:
    """Returns the end of a log, empty if there is none; carriage returns of progress bars become line breaks."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LOG_TAIL_BYTES))
            return file.read().decode("utf-8", "replace").replace("\r", "\n").strip()
    except FileNotFoundError:
        return ""


def draw_log(log: Path, *, expanded: bool = False) -> None:
    """Draws the end of a log, folded away unless `expanded`."""
    with st.expander("Log", expanded=expanded):
        st.code(log_tail(log) or "Empty so far.", language=None, wrap_lines=True)


def _draw(job: Job, was_running: bool, first_task: str, after_stop: str) -> None:
    state = commands.job_state(job)
    if state is JobState.RUNNING:
        _draw_progress(commands.progress(job), first_task)
        stop_button(job)
    elif was_running:
        clear_samples()
        st.rerun()
    elif state is JobState.FAILED and commands.was_stopped(job):
        st.info(f"Stopped. {plain(after_stop)}", icon=":material/pause_circle:")
    elif state is JobState.FAILED:
        st.error(
            plain(as_sentence(commands.failure_message(job)) or "It failed without a message."), icon=":material/error:"
        )
        draw_log(job.log)


def _draw_progress(progress: Progress | None, first_task: str) -> None:
    if progress is None or not progress.done or not progress.total:
        draw_task(first_task if progress is None else _title(progress))
    else:
        st.progress(min(progress.done / progress.total, 1.0), text=plain(_title(progress)))


def _title(progress: Progress) -> str:
    """Returns the current task of a job, and how much of it is done if that is known."""
    title = TASKS.get(progress.what, progress.what)
    if not progress.total:
        return title
    if progress.what in TASKS:
        return f"{title}: {progress.done:,} of {progress.total:,}"
    return f"{title} ({progress.done + 1} of {progress.total})"  # one of several stages


def _stop_key(job: Job) -> str:
    return f"stopping-{job.path.name}"


def _interrupt(job: Job) -> None:
    st.session_state[_stop_key(job)] = True
    launcher.interrupt(job)
