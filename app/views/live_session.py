"""The switch "Learn as I label", and a line that says how far behind the labels the live session is."""

import streamlit as st

from gradebook.app.context import PageContext
from gradebook.app.data_access import read_events, read_stats
from gradebook.app.text import as_sentence, capitalized, plain
from gradebook.pipelines.jobs import commands
from gradebook.pipelines.jobs.launcher import Job, JobState
from gradebook.pipelines.runs import Run
from gradebook.pipelines.session.lock import Phase, live_session
from gradebook.pipelines.session.snapshots import LiveStatus, live_status, read_snapshot
from gradebook.pipelines.session.stop import request_stop
from gradebook.storage.project import Project, ProjectError

POLL_INTERVAL_S = 2.0
SWITCH, STARTED, FOLLOWED = "learn-as-i-label", "session-job", "followed-run"  # session keys
HELP = "Trains while you label: the order behind the next images follows each label. It goes on if you close this page."


def draw(context: PageContext) -> None:
    """Draws the switch and the line, again and again while a session is live; nothing without embeddings."""
    if not read_stats(context.store).embedded:
        return
    is_on = _is_on(context.store.project)
    st.fragment(_draw, run_every=POLL_INTERVAL_S if is_on else None)(context, is_on)


def newest_snapshot(run: Run | None) -> int:
    """Returns the number of the newest snapshot of a session's run; 0 for another run, or without one."""
    return read_snapshot(run).number if run is not None and run.is_session else 0


def _draw(context: PageContext, was_on: bool) -> None:
    project = context.store.project
    status, is_on = live_status(project, read_events(context.store).events), _is_on(project)
    st.session_state[SWITCH] = is_on
    with st.container(horizontal=True, vertical_alignment="center"):
        finishing = status is not None and status.session.phase is Phase.FINISHING
        args = (project,)
        st.toggle("Learn as I label", key=SWITCH, disabled=finishing, help=HELP, on_change=_switch, args=args)
        st.caption(plain(_line(status, is_on=is_on)), width="content")
    if is_on != was_on or _has_new_run(context, status):
        st.rerun()


def _line(status: LiveStatus | None, *, is_on: bool) -> str:
    if status is not None:
        return capitalized(status.sentence)
    if is_on:
        return "Starting"
    job: Job | None = st.session_state.get(STARTED)
    failed = job is not None and commands.job_state(job) is JobState.FAILED and not commands.was_stopped(job)
    return as_sentence(commands.failure_message(job)) if job is not None and failed else ""


def _is_on(project: Project) -> bool:
    """Returns whether a session is live, or this browser's is starting."""
    job: Job | None = st.session_state.get(STARTED)
    starting = job is not None and commands.job_state(job) is JobState.RUNNING
    return starting or live_session(project) is not None


def _has_new_run(context: PageContext, status: LiveStatus | None) -> bool:
    """Returns, once for each run, whether the session has a run with a snapshot that the page does not show yet."""
    if status is None or not status.snapshot.number or st.session_state.get(FOLLOWED) == status.session.run:
        return False
    st.session_state[FOLLOWED] = status.session.run
    return context.run is None or context.run.name != status.session.run


def _switch(project: Project) -> None:
    try:
        if st.session_state[SWITCH]:
            st.session_state[STARTED] = commands.start_session(project)
        else:
            request_stop(project)
    except (OSError, ProjectError) as error:
        st.toast(plain(as_sentence(str(error))))
