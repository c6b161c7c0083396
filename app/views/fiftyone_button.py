"""The button that opens the samples of a page in FiftyOne, which it starts if it is not running."""

from collections.abc import Sequence

import streamlit as st

from gradebook.app.job_progress import follow
from gradebook.app.text import as_sentence, count, plain
from gradebook.pipelines.fiftyone_app import links
from gradebook.pipelines.jobs import commands, launcher
from gradebook.pipelines.jobs.launcher import Job, JobState
from gradebook.pipelines.process import servers
from gradebook.pipelines.runs import Run
from gradebook.storage.project import Project, ProjectError

LINKS = "fiftyone-links"  # session key: button -> (address, problem)
STARTING = "fiftyone-job"  # session key: the name of the job that starts FiftyOne, and the button that asked for it
POLL_INTERVAL_S = 1.0
STYLE = "<style>:has(> .st-key-fiftyone-problem) { flex: 1 0 100% !important; }</style>"  # on a line of its own


def draw(project: Project, sample_ids: Sequence[str], run: Run | None = None) -> None:
    """Draws a button that opens these samples in FiftyOne with the chosen run, and then the link or the progress.

    The link disappears when the page shows other samples or another run.
    """
    key = f"fiftyone-{run.name if run else ''}-{'-'.join(sample_ids)}"
    starting = st.session_state.get(STARTING)
    if starting is not None and starting[1] == key:
        _follow_start(project, sample_ids, run, key, starting[0])
        return
    address, problem = st.session_state.get(LINKS, {}).get(key, (None, None))
    with st.container(horizontal=True, vertical_alignment="center", key="fiftyone-row"):
        if address is None:
            label = "Open in FiftyOne" if len(sample_ids) == 1 else f"Open these {len(sample_ids):,} in FiftyOne"
            args = (project, sample_ids, run, key)
            st.button(label, key="fiftyone-ask", icon=":material/grid_view:", on_click=_open, args=args)
        else:
            label = f"Show {count(len(sample_ids), 'image')} in FiftyOne"
            st.link_button(label, address, icon=":material/open_in_new:", type="primary")
            if run is not None:
                st.caption(f"It shows {plain(run.name)}.")
    if problem is not None:
        with st.container(key="fiftyone-problem"):
            st.html(STYLE)
            st.info(plain(as_sentence(problem)), icon=":material/info:")


def _open(project: Project, sample_ids: Sequence[str], run: Run | None, key: str) -> None:
    """Makes the link; starts FiftyOne, or brings it up to date, if it is not running or shows something else."""
    try:
        _save(key, links.in_fiftyone(project, sample_ids, run.name if run else None), None)
    except links.OutdatedFiftyOne:
        job = commands.start_fiftyone(project, run.name if run else None)
        st.session_state[STARTING] = (job.path.name, key)
    except ProjectError as error:
        _save(key, None, str(error))


def _follow_start(project: Project, sample_ids: Sequence[str], run: Run | None, key: str, name: str) -> None:
    """Draws the progress of the start; makes the link once FiftyOne answers."""
    job = next((job for job in launcher.list_jobs(project) if job.path.name == name), None)
    if job is None:
        st.session_state.pop(STARTING)
        return
    st.fragment(_wait, run_every=POLL_INTERVAL_S)(project, sample_ids, run, key, job)
    if follow(job, first_task="Starting FiftyOne", after_stop="FiftyOne was not started.") is JobState.FAILED:
        st.session_state.pop(STARTING)


def _wait(project: Project, sample_ids: Sequence[str], run: Run | None, key: str, job: Job) -> None:
    ended = commands.job_state(job) is not JobState.RUNNING
    if not ended and servers.find(project.root, servers.FIFTYONE) is None:
        return
    try:
        _save(key, links.in_fiftyone(project, sample_ids, run.name if run else None), None)
    except links.OutdatedFiftyOne as error:
        if not ended:
            return  # it still brings its dataset up to date
        _save(key, None, commands.failure_message(job) or str(error))
    except ProjectError as error:
        _save(key, None, str(error))
    st.session_state.pop(STARTING, None)
    st.rerun()


def _save(key: str, address: str | None, problem: str | None) -> None:
    st.session_state[LINKS] = {key: (address, problem)}  # one link: FiftyOne keeps few saved views
