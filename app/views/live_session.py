"""The switch "Learn as I label", and a line that says how far behind the labels the live session is."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import streamlit as st

from gradebook.app.context import PageContext
from gradebook.app.data_access import read_events, read_stats
from gradebook.app.review_actions import Action, ReviewAction
from gradebook.app.text import as_sentence, capitalized, plain
from gradebook.app.views import live_panel
from gradebook.pipelines.jobs import commands
from gradebook.pipelines.jobs.launcher import Job, JobState
from gradebook.pipelines.runs import Run
from gradebook.pipelines.session import automatic
from gradebook.pipelines.session.lock import Phase, live_session
from gradebook.pipelines.session.snapshots import newest_number
from gradebook.pipelines.session.status import LiveStatus, live_status
from gradebook.pipelines.session.stop import request_stop
from gradebook.storage.project import Project, ProjectError

POLL_INTERVAL_S = 2.0
WIDTHS = (3, 1)  # of the images and the panel
SWITCH, STARTED, FOLLOWED = "learn-as-i-label", "session-job", "followed-run"  # session keys
HELP = (
    "Trains while you label: the order behind the next images follows each label. It starts with your first label and "
    "continues if you close this page. Switched off, it stays off for this project until you switch it on."
)
STARTS = "The model now learns as you label. The switch above turns this off."


def draw(context: PageContext) -> AbstractContextManager[object]:
    """Draws the switch, the line and, once there is a snapshot, the panel, again and again while a session is live.

    Returns:
        Where the rest of the page is drawn: beside the panel.
    """
    project = context.store.project
    if not read_stats(context.store).embedded:
        return nullcontext()
    try:
        is_live, may_start = _is_live(project), automatic.may_start(project)
    except ProjectError as error:
        _draw_problem(error)
        return nullcontext()
    st.fragment(_draw, run_every=POLL_INTERVAL_S if is_live or may_start else None)(context, is_live)
    if context.run is None or not is_live or not newest_snapshot(context.run):
        # Columns here too: where the panel appears later, the browser keeps what is on the page and the keys pressed.
        return st.columns(1, gap="medium")[0]
    page, side = st.columns(WIDTHS, gap="medium")
    with side:
        st.fragment(live_panel.draw, run_every=POLL_INTERVAL_S)(context, context.run)
    return page


def newest_snapshot(run: Run | None) -> int:
    """Returns the number of the newest snapshot of a session's run; 0 for another run, or without one."""
    return 0 if run is None else newest_number(run)


def start_with_first_label(context: PageContext, actions: Sequence[ReviewAction]) -> str | None:
    """Starts a session if there is a label among some actions, and returns a message that says so.

    Nothing happens if a session is live or switched off, or this browser's last one has failed.
    """
    project, job = context.store.project, _started()
    if not any(action.action is Action.LABEL for action in actions):
        return None
    if job is not None and commands.job_state(job) is not JobState.DONE:
        return None
    if not read_stats(context.store).embedded or not automatic.may_start(project):
        return None
    try:
        st.session_state[STARTED] = commands.start_session(project)
    except (OSError, ProjectError):
        return None  # the switch says why when it is used
    return STARTS


def _draw(context: PageContext, was_live: bool) -> None:
    project = context.store.project
    try:
        status, is_live = live_status(project, read_events(context.store).events), _is_live(project)
    except ProjectError as error:
        _draw_problem(error)
        return
    st.session_state[SWITCH] = is_live or not automatic.is_switched_off(project)
    with st.container(horizontal=True, vertical_alignment="center"):
        finishing = status is not None and status.session.phase is Phase.FINISHING
        args = (project,)
        st.toggle("Learn as I label", key=SWITCH, disabled=finishing, help=HELP, on_change=_switch, args=args)
        st.caption(plain(_line(project, status, is_live=is_live)), width="content")
    if is_live != was_live or _has_new_run(context, status):
        st.rerun()


def _draw_problem(error: ProjectError) -> None:
    st.warning(plain(as_sentence(str(error))), icon=":material/broken_image:")


def _line(project: Project, status: LiveStatus | None, *, is_live: bool) -> str:
    if status is not None:
        return capitalized(status.sentence)
    if is_live:
        return "Starting"
    job = _started()
    if job is not None and commands.job_state(job) is JobState.FAILED and not commands.was_stopped(job):
        return as_sentence(commands.failure_message(job))
    return "Starts with your next label" if automatic.may_start(project) else ""


def _started() -> Job | None:
    """Returns the job of the session that this browser has started last."""
    job: Job | None = st.session_state.get(STARTED)
    return job


def _is_live(project: Project) -> bool:
    """Returns whether a session is live, or this browser's is starting."""
    job = _started()
    starting = job is not None and commands.job_state(job) is JobState.RUNNING
    return starting or live_session(project) is not None


def _has_new_run(context: PageContext, status: LiveStatus | None) -> bool:
    """Returns, once for each run, whether the session has a run with a snapshot that the page does not show yet."""
    if status is None or not status.snapshot.number or st.session_state.get(FOLLOWED) == status.session.run:
        return False
    st.session_state[FOLLOWED] = status.session.run
    return context.run is None or context.run.name != status.session.run


def _switch(project: Project) -> None:
    is_on = bool(st.session_state[SWITCH])
    try:
        automatic.switch(project, on=is_on)
        if is_on:
            st.session_state[STARTED] = commands.start_session(project)
        elif live_session(project) is not None:
            request_stop(project)
    except (OSError, ProjectError) as error:
        st.toast(plain(as_sentence(str(error))))
