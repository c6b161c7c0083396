"""The page Map: each image is a point, similar images close together; a lasso selects images for other pages."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from gradebook.app import map_component
from gradebook.app.context import PageContext
from gradebook.app.data_access import image_data_url, read_events, read_samples
from gradebook.app.job_progress import follow
from gradebook.app.map_component import MapPoints, MapState
from gradebook.app.text import as_sentence, count, plain
from gradebook.app.views import next_steps, sample_gallery
from gradebook.pipelines.curation import lasso, map_colors, queue_items
from gradebook.pipelines.curation.map_colors import Coloring, Kind
from gradebook.pipelines.embedding import map_projection
from gradebook.pipelines.embedding.map_projection import Projection
from gradebook.pipelines.jobs import commands
from gradebook.pipelines.jobs.launcher import Job, JobState
from gradebook.pipelines.runs import Run
from gradebook.storage.project import Project, ProjectError
from gradebook.storage.store import Store

NAMES = {
    map_colors.LABEL: "Label",
    map_colors.TEACHER: "Teacher",
    map_colors.STUDENT: "Student",
    map_colors.DISAGREEMENT: "Disagreement",
    map_colors.FEEDBACK: "Feedback",
    map_colors.PROBABILITY: "Probability",
    map_colors.REASON: "Reason",
}
MEANINGS = {
    map_colors.LABEL: "The label of each labelled image.",
    map_colors.TEACHER: "The final teacher prediction. Only unlabelled images have a record.",
    map_colors.STUDENT: "The final student prediction. Only unlabelled images have a record.",
    map_colors.DISAGREEMENT: "Whether the final predictions of teacher and student differ.",
    map_colors.FEEDBACK: "The mean feedback of the teacher's class, in nats: above zero, it lowered the student's loss "
    "on your labels. It does not say which class is correct.",
    map_colors.PROBABILITY: "The final probability of the student's predicted class.",
    map_colors.REASON: "How strongly the reason asks for a review, from 0 to 100%.",
}
DOUBT = "doubt"  # in the address: the queue's default order
WHY = "selected on the map"
DIFFERENCE_TTL_S = 300  # removed images are noticed after this time, new ones at once
PREVIEW_PX = 160
INITIAL = "map-initial"  # session key


def render(context: PageContext) -> None:
    """Draws the page."""
    st.title("Map")
    project = context.store.project
    job = commands.newest(project, "map")
    running = job is not None and commands.job_state(job) is JobState.RUNNING
    projection = _read_map(str(project.root), map_projection.modified_ns(project), project)
    if projection is None:
        _draw_without_map(context, job, running)
        return
    _draw_difference(context.store, projection, job, running)
    by, reason = _choose_color()
    try:
        coloring = _read_coloring(context, projection, by, reason)
    except ProjectError as error:
        st.info(plain(as_sentence(str(error))), icon=":material/palette:")
        return
    st.fragment(_draw_map)(context, projection, coloring, by)


def _draw_without_map(context: PageContext, job: Job | None, running: bool) -> None:
    """Draws what to do before there is a map, and the job that makes it."""
    store = context.store
    samples = read_samples(store)
    if not samples or not store.vectors.spaces():
        text = "No image has an embedding yet." if samples else "The project has no images yet."
        st.info(
            f"A map shows each image as a point, similar images close together. {text}", icon=":material/scatter_plot:"
        )
        next_steps.links(context, [("images", "Compute embeddings" if samples else "Import images")])
        return
    if not running:
        st.markdown("A map shows each image as a point, similar images close together. It is computed once.")
        st.caption("It takes seconds for a thousand images, minutes for a hundred thousand, in the background.")
        icon = ":material/scatter_plot:"
        st.button("Compute the map", key="make", type="primary", icon=icon, on_click=_start, args=(store.project,))
    if job is not None:
        _follow(job)


def _start(project: Project) -> None:
    commands.start_map(project)


def _follow(job: Job) -> None:
    follow(job, first_task="Starting", after_stop="Nothing was changed. Press the button to start again.")


def _draw_difference(store: Store, projection: Projection, job: Job | None, running: bool) -> None:
    """Draws how the map differs from the project, with the button to compute it again."""
    embedded = store.vectors.count(projection.backbone)
    difference = _compare(str(store.project.root), projection.fingerprint, embedded, store, projection)
    outdated = bool(difference.new or difference.removed)
    if outdated:
        parts = [f"it lacks {count(difference.new, 'new image')}"] if difference.new else []
        parts += (
            [f"{count(difference.removed, 'image')} on it {'was' if difference.removed == 1 else 'were'} removed"]
            if difference.removed
            else []
        )
        st.warning(f"The map is out of date: {' and '.join(parts)}.", icon=":material/history:")
        if not running:
            icon = ":material/scatter_plot:"
            st.button("Compute it again", key="compute-again", icon=icon, on_click=_start, args=(store.project,))
    failed = job is not None and commands.job_state(job) is JobState.FAILED
    if job is not None and (running or (failed and outdated)):
        _follow(job)


def _choose_color() -> tuple[str, str | None]:
    """Draws the choice of colours, which the address keeps; returns it, and the reason if one was chosen."""
    requested, _, reason = st.query_params.get("colour", map_colors.LABEL).partition(":")
    # The key gives the container its final height, or the map would move under the pointer when the control appears.
    with st.container(horizontal=True, vertical_alignment="bottom", key="map-colour"):
        by = st.segmented_control(
            "Colour by",
            list(NAMES),
            format_func=NAMES.__getitem__,
            default=requested if requested in NAMES else map_colors.LABEL,
            required=True,
            key="colour-by",
        )
        chosen = DOUBT
        if by == map_colors.REASON:
            sentences = {DOUBT: "most uncertain", **queue_items.sentences()}
            chosen = st.selectbox(
                "Reason",
                list(sentences),
                index=list(sentences).index(reason) if reason in sentences else 0,
                format_func=lambda name: as_sentence(sentences[name]).rstrip("."),
                key="colour-reason",
                width=380,
            )
    st.query_params["colour"] = f"{by}:{chosen}" if by == map_colors.REASON else by
    return by, None if chosen == DOUBT else chosen


def _draw_map(context: PageContext, projection: Projection, coloring: Coloring, by: str) -> None:
    """Draws the points, and below them the selected images. A lasso runs only this part of the page again."""
    key, map_id = f"map-{projection.fingerprint.replace(' ', '-')}", _map_id(projection)
    rings, text = _read_lasso(map_id)
    if key not in st.session_state:  # the page has just been opened: the map begins with what the address has
        st.session_state[INITIAL] = MapState(lasso=text if rings else "", hidden=_hidden_groups(coloring))
    points = MapPoints(
        xy=projection.xy,
        coloring=coloring,
        missing_label="No label" if by == map_colors.LABEL else "No record",
        high_is_warning=by == map_colors.REASON,
        preview=_preview(context.store, projection, st.session_state.get(key, {}).get("hover")),
    )
    initial = st.session_state[INITIAL]
    map_component.mount(
        key, points, initial, on_lasso=lambda: _save_lasso(key, map_id), on_hidden=lambda: _save_hidden(key, by)
    )
    st.caption(MEANINGS[by])
    if rings:
        _draw_selected(context, projection, coloring, by, rings)


def _preview(store: Store, projection: Projection, point: Any) -> dict[str, Any] | None:
    """Returns the image of the point under the pointer as the browser gets it, None without one."""
    if not isinstance(point, int) or not 0 <= point < len(projection.sample_ids):
        return None
    sample = read_samples(store).get(projection.sample_ids[point])
    if sample is None:
        return None
    return {
        "point": point,
        "src": image_data_url(store.project, sample, PREVIEW_PX),
        "name": Path(sample.filepath).name,
    }


def _draw_selected(
    context: PageContext, projection: Projection, coloring: Coloring, by: str, rings: Sequence[Any]
) -> None:
    """Draws the images in the lasso whose group is not hidden."""
    selected = lasso.inside(projection.xy, rings)
    for group in _hidden_groups(coloring):
        selected &= coloring.groups != group
    ids = _in_review_order(projection.sample_ids, coloring, selected, by, read_events(context.store).decided)
    if not ids:
        st.caption("There is no image in the lasso: draw around some points.")
        return
    sample_gallery.draw_group(context, ids, WHY)
    sample_gallery.draw_first(context, ids, new_tab=True)


def _read_lasso(map_id: str) -> tuple[Sequence[Any], str]:
    """Returns the rings of the lasso in the address, and their text; a lasso of another map is none."""
    lasso_map, _, text = st.query_params.get("lasso", "").partition("-")
    if text and lasso_map != map_id:
        st.caption("The lasso in the address belongs to an earlier map: draw it again.")
    elif text:
        try:
            return lasso.rings(text), text
        except ProjectError as error:
            st.caption(plain(as_sentence(str(error))))
    return (), text


def _save_lasso(key: str, map_id: str) -> None:
    text = st.session_state[key].lasso
    if text:
        st.query_params["lasso"] = f"{map_id}-{text}"
    else:
        st.query_params.pop("lasso", None)


def _save_hidden(key: str, by: str) -> None:
    hidden = [str(int(group)) for group in st.session_state[key].hidden]
    if hidden:
        st.query_params["hide"] = f"{by}-{'.'.join(hidden)}"
    else:
        st.query_params.pop("hide", None)


def _hidden_groups(coloring: Coloring) -> list[int]:
    """Returns the groups that the address hides in these colours."""
    hidden_by, _, text = st.query_params.get("hide", "").partition("-")
    by = st.query_params.get("colour", "").partition(":")[0]
    if hidden_by != by or (coloring.kind is not Kind.CLASSES and text != str(map_component.NO_GROUP)):
        return []
    return [map_component.to_group(int(part)) for part in text.split(".") if part.isascii() and part.isdecimal()]


def _in_review_order(
    sample_ids: Sequence[str], coloring: Coloring, selected: NDArray[np.bool_], by: str, decided: Any
) -> list[str]:
    """Returns the selected samples: those that the reason scores highest first, or else the undecided ones first."""
    indices = selected.nonzero()[0].tolist()
    if by == map_colors.REASON:
        indices.sort(key=lambda k: -int(coloring.groups[k]))
    else:
        indices.sort(key=lambda k: sample_ids[k] in decided)
    return [sample_ids[k] for k in indices]


def _map_id(projection: Projection) -> str:
    return projection.fingerprint.split(" ")[1][:8]


def _read_coloring(context: PageContext, projection: Projection, by: str, reason: str | None) -> Coloring:
    store, run = context.store, context.run
    with st.spinner("Reading the run's record"):
        version = (run.name if run else "", run.status().updated if run else "", str(len(read_events(store).events)))
        key = (str(store.project.root), projection.fingerprint, *version)
        return _coloring(key, by, reason, store, run, projection)


@st.cache_resource(max_entries=16, show_spinner=False)
def _coloring(
    key: tuple[str, ...],
    by: str,
    reason: str | None,
    _store: Store,
    _run: Run | None,
    _projection: Projection,
) -> Coloring:
    return map_colors.coloring(_store, _run, _projection.sample_ids, by, read_events(_store).labels, reason)


@st.cache_resource(max_entries=2, show_spinner=False)
def _read_map(root: str, modified_ns: int, _project: Project) -> Projection | None:
    return map_projection.read_map(_project)


@st.cache_resource(max_entries=4, ttl=DIFFERENCE_TTL_S, show_spinner=False)
def _compare(
    root: str, fingerprint: str, embedded: int, _store: Store, _projection: Projection
) -> map_projection.MapDifference:
    return map_projection.compare(_store, _projection)
