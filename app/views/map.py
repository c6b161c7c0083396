"""The map page: every image a point, like images together; a lasso chooses those to review or to open in FiftyOne."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from gradebook.app import context as at
from gradebook.app import map_component
from gradebook.app.context import Desk
from gradebook.app.job_progress import follow
from gradebook.app.text import count, plain, sentence
from gradebook.app.views import chosen
from gradebook.pipelines.curation import lasso, map_colors, queue_items
from gradebook.pipelines.curation.map_colors import Colouring, Kind
from gradebook.pipelines.embedding import map_projection
from gradebook.pipelines.embedding.map_projection import Projection
from gradebook.pipelines.jobs import commands
from gradebook.pipelines.jobs.launcher import Job, JobState
from gradebook.storage.project import ProjectError

BY = {
    map_colors.LABEL: "Label",
    map_colors.TEACHER: "Teacher",
    map_colors.STUDENT: "Student",
    map_colors.DISAGREEMENT: "Disagreement",
    map_colors.FEEDBACK: "Feedback",
    map_colors.PROBABILITY: "Probability",
    map_colors.REASON: "Reason",
}
MEANS = {
    map_colors.LABEL: "The label of each image that has one.",
    map_colors.TEACHER: "The class that the teacher named last. Only images without a label have a record.",
    map_colors.STUDENT: "The class that the student named last. Only images without a label have a record.",
    map_colors.DISAGREEMENT: "Whether teacher and student named different classes at the last record.",
    map_colors.FEEDBACK: "The mean feedback of the teacher's label, nats: above zero it helped the student on your "
    "labels. It is no score of right or wrong.",
    map_colors.PROBABILITY: "How sure the student was of its class at the last record.",
    map_colors.REASON: "How strongly the reason says to look at an image.",
}
DOUBT = "doubt"  # in the address: the queue's default order
WHY = "chosen on the map"
GAP_SECONDS = 300  # how late the page may see that images on the map have gone; new ones it sees at once


def render(desk: Desk) -> None:
    """Draws the page."""
    st.title("Map")
    job = commands.newest(desk.store.project, "map")
    going = job is not None and commands.job_state(job) is JobState.RUNNING
    there = _kept(desk.root, map_projection.age(desk.store.project), desk)
    if there is None:
        _first(desk, job, going)
        return
    _compare(desk, there, job, going)
    by, reason = _choices(desk)
    try:
        coloured = _colouring(desk, there, by, reason)
    except ProjectError as error:
        st.info(plain(sentence(str(error))), icon=":material/palette:")
        return
    st.fragment(_board)(desk, there, coloured, by)


def _first(desk: Desk, job: Job | None, going: bool) -> None:
    """Draws what is to be done before there is a map, and the job that makes it."""
    samples = at.read_samples(desk.store)
    if not samples or not desk.store.vectors.spaces():
        what = "looked at" if samples else "in the project"
        st.info(
            f"A map shows every image as a point, like images together. No image is {what} yet.",
            icon=":material/scatter_plot:",
        )
        if "images" in desk.pages:
            label = "Look at them on the page Images →" if samples else "Bring some in on the page Images →"
            st.page_link(desk.pages["images"], label=label, query_params=dict(desk.query))
        return
    if not going:
        st.markdown("A map shows every image as a point, like images together. It is made once, by one core.")
        st.caption("Seconds for a thousand images, minutes for a hundred thousand. You can go on working meanwhile.")
        st.button(
            "Make the map", key="make", type="primary", icon=":material/scatter_plot:", on_click=_make, args=(desk,)
        )
    if job is not None:
        _follow(job)


def _make(desk: Desk) -> None:
    commands.start_map(desk.store.project)


def _follow(job: Job) -> None:
    follow(job, doing="Starting", stopped="Nothing was changed; begin again when you like.")


def _compare(desk: Desk, there: Projection, job: Job | None, going: bool) -> None:
    """Says how the map differs from what the project has now, with the means to make it anew."""
    gap = _gap(desk.root, there.made_of, desk.store.vectors.count(there.backbone), desk, there)
    failed = job is not None and commands.job_state(job) is JobState.FAILED
    if gap.new or gap.gone:
        parts = [f"{count(gap.new, 'image')} looked at since are not on it"] if gap.new else []
        parts += [f"{count(gap.gone, 'image')} on it are not in the project any more"] if gap.gone else []
        st.warning(f"The map is older than the images: {' and '.join(parts)}.", icon=":material/history:")
        if not going:
            st.button("Make it anew", key="anew", icon=":material/scatter_plot:", on_click=_make, args=(desk,))
    if job is not None and (going or (failed and (gap.new or gap.gone))):
        _follow(job)


def _choices(desk: Desk) -> tuple[str, str | None]:
    """Draws what to colour by, which stands in the address."""
    asked, _, reason = st.query_params.get("colour", map_colors.LABEL).partition(":")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        by = st.segmented_control(
            "Colour by",
            list(BY),
            format_func=BY.__getitem__,
            default=asked if asked in BY else map_colors.LABEL,
            required=True,
            key="colour-by",
        )
        which = DOUBT
        if by == map_colors.REASON:
            names = {DOUBT: "whatever is most doubtful", **queue_items.sentences()}
            which = st.selectbox(
                "Reason",
                list(names),
                index=list(names).index(reason) if reason in names else 0,
                format_func=lambda name: sentence(names[name]).rstrip("."),
                key="colour-reason",
                width=380,
            )
    st.query_params["colour"] = f"{by}:{which}" if by == map_colors.REASON else by
    return by, None if which == DOUBT else which


def _board(desk: Desk, there: Projection, coloured: Colouring, by: str) -> None:
    """Draws the points, and below them what the lasso holds; alone drawn anew when it changes."""
    key, mark = f"scatter-{there.made_of.replace(' ', '-')}", _mark(there)
    of, _, text = st.query_params.get("lasso", "").partition("-")
    rings: Sequence[Any] = ()
    if text and of != mark:
        st.caption("The address is of an earlier map: draw around the images again.")
    elif text:
        try:
            rings = lasso.rings(text)
        except ProjectError as error:
            st.caption(plain(sentence(str(error))))
    if key not in st.session_state:  # somebody has just come: the browser begins with what the address says
        st.session_state["scatter-start"] = {"lasso": text if rings else "", "hidden": _hidden(coloured)}
    map_component.draw(
        key,
        there.places,
        coloured,
        unknown="No label" if by == map_colors.LABEL else "Nothing recorded",
        wants_a_look=by == map_colors.REASON,
        start=st.session_state["scatter-start"],
        on_lasso=lambda: _lassoed(key, mark),
        on_hidden=lambda: _hid(key, by),
    )
    st.caption(MEANS[by])
    held = lasso.inside(there.places, rings) if rings else None
    if held is not None:
        for group in _hidden(coloured):
            held &= coloured.groups != group
        chosen.draw(desk, _in_order(desk, there, coloured, by, held), WHY)


def _lassoed(key: str, mark: str) -> None:
    text = st.session_state[key].lasso
    if text:
        st.query_params["lasso"] = f"{mark}-{text}"
    else:
        st.query_params.pop("lasso", None)


def _hid(key: str, by: str) -> None:
    hidden = [str(int(group)) for group in st.session_state[key].hidden]
    if hidden:
        st.query_params["hide"] = f"{by}-{'.'.join(hidden)}"
    else:
        st.query_params.pop("hide", None)


def _hidden(coloured: Colouring) -> list[int]:
    """Returns the groups that are off in these colours: classes by their place, `NOTHING` for the others."""
    by, _, text = st.query_params.get("hide", "").partition("-")
    now = st.query_params.get("colour", "").partition(":")[0]
    if by != now or (coloured.kind is not Kind.CLASSES and text != str(map_component.NO_GROUP)):
        return []
    return [map_component.group_of(int(part)) for part in text.split(".") if part.isascii() and part.isdecimal()]


def _in_order(desk: Desk, there: Projection, coloured: Colouring, by: str, held: Any) -> list[str]:
    """Returns the samples to look at first, first: those that the reason names most, else those that nobody decided."""
    decided = at.read_book(desk.store).decided
    places = held.nonzero()[0].tolist()
    if by == map_colors.REASON:
        places.sort(key=lambda k: -int(coloured.groups[k]))
    else:
        places.sort(key=lambda k: there.sample_ids[k] in decided)
    return [there.sample_ids[k] for k in places]


def _mark(there: Projection) -> str:
    return there.made_of.split(" ")[1][:8]


def _colouring(desk: Desk, there: Projection, by: str, reason: str | None) -> Colouring:
    run = desk.run
    with st.spinner("Reading what the run says"):
        book = at.read_book(desk.store)
        told = run.status().updated if run else ""
        return _coloured(
            desk.root, there.made_of, run.name if run else "", told, by, reason, len(book.events), desk, there
        )


@st.cache_resource(max_entries=16, show_spinner=False)
def _coloured(
    root: str,
    made_of: str,
    run: str,
    told: str,
    by: str,
    reason: str | None,
    events: int,
    _desk: Desk,
    _there: Projection,
) -> Colouring:
    labels = at.read_book(_desk.store).labels
    return map_colors.colouring(_desk.store, _desk.run, _there.sample_ids, by, labels, reason)


@st.cache_resource(max_entries=2, show_spinner=False)
def _kept(root: str, age: int, _desk: Desk) -> Projection | None:
    return map_projection.read_map(_desk.store.project)


@st.cache_resource(max_entries=4, ttl=GAP_SECONDS, show_spinner=False)
def _gap(root: str, made_of: str, embedded: int, _desk: Desk, _there: Projection) -> map_projection.Gap:
    return map_projection.compare(_desk.store, _there)
