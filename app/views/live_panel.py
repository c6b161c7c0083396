"""The panel beside Review: what the live session has learned, and what the newest labels changed."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

import streamlit as st

from gradebook.app.context import PageContext
from gradebook.app.data_access import image_data_url, read_samples
from gradebook.app.text import count, plain
from gradebook.app.views import selection
from gradebook.app.views.sample_gallery import MAX_SELECTED, MAX_THUMBNAILS
from gradebook.pipelines.runs import Run
from gradebook.pipelines.session.effects import ChangedPrediction, Effect, read_effects
from gradebook.pipelines.session.snapshots import Snapshot, read_snapshot
from gradebook.storage.project import ProjectError

MAX_STRIP = 6  # images
MAX_CLASSES = 3  # weakest ones
MIN_LABELS = 2  # of a class, for it to count as weak
THUMBNAIL_PX = 160
STYLE = """<style>
.changed { display: grid; grid-template-columns: repeat(auto-fill, minmax(72px, 1fr)); gap: 0.4rem; }
.changed figure { margin: 0; font-size: 0.8rem; min-width: 0; }
.changed img { width: 100%; aspect-ratio: 1; object-fit: cover; display: block; border-radius: 0.3rem; }
.changed figcaption { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
</style>"""


def draw(context: PageContext, run: Run) -> None:
    """Draws the numbers of a live session's newest snapshot; nothing if it cannot be read."""
    run = run.with_pinned_results()
    try:
        snapshot = read_snapshot(run)
    except ProjectError:
        return  # the line above says so
    effects = read_effects(run)
    _draw_numbers(snapshot)
    if effects.verdict is not None:
        st.caption(plain(effects.verdict.sentence))
    if effects.last.changed:
        st.markdown(f"{_sentence(effects.last)}.")
        _draw_thumbnails(context, effects.last.changed[:MAX_STRIP])
    if effects.recent.changed and effects.recent != effects.last:
        st.markdown(f"{_sentence(effects.recent)}.")
    if effects.recent.changed:
        opened_on = st.query_params.get("selection", "")  # a popover of another key is closed
        with st.popover("Show them", key=f"changed-{opened_on}"):
            _draw_all(context, effects.recent)


def _draw_numbers(snapshot: Snapshot) -> None:
    """Draws accuracy and agreement with their curves over the labels, and the weakest classes."""
    curve = snapshot.curve if len(snapshot.curve) > 1 else ()
    if snapshot.accuracy is not None:
        low, high = snapshot.interval or (0.0, 1.0)
        st.metric(
            "Accuracy, cross-validated",
            f"{snapshot.accuracy:.0%}",
            f"{low:.0%} to {high:.0%}, by {count(snapshot.labels, 'label')}",
            delta_color="off",
            delta_arrow="off",
            chart_data=[round(100 * point.accuracy, 1) for point in curve] or None,
            help="Each label is predicted by a classifier that was fitted without it, and without the student. The "
            "curve has a point for each number of labels.",
        )
    if snapshot.agreement is not None:
        st.metric(
            "Student and teacher agree",
            f"{snapshot.agreement:.0%}",
            "of the images without a label",
            delta_color="off",
            delta_arrow="off",
            chart_data=[round(100 * point.agreement, 1) for point in curve if point.agreement is not None] or None,
        )
    weakest = [row for row in snapshot.classes if row.labels >= MIN_LABELS and row.correct < row.labels][:MAX_CLASSES]
    if weakest:
        lines = [f"{plain(row.name)}: {row.correct} of {row.labels} labels predicted" for row in weakest]
        st.markdown("Weakest classes  \n" + "  \n".join(lines))


def _sentence(effect: Effect) -> str:
    labels = "The last label" if effect.labels == 1 else f"The last {effect.labels} labels"
    return f"{labels} changed the predictions of **{count(len(effect.changed), 'image')}**"


def _draw_thumbnails(context: PageContext, rows: Sequence[ChangedPrediction]) -> None:
    """Draws thumbnails with the predicted class before and after."""
    samples, figures = read_samples(context.store), []
    for row in rows:
        if (sample := samples.get(row.sample_id)) is None:
            continue
        name, change = escape(Path(sample.filepath).name), escape(f"{row.before} → {row.after}")
        src = image_data_url(context.store.project, sample, THUMBNAIL_PX) or ""
        image = f'<img src="{src}" alt="{name}">'
        figures.append(f'<figure title="{change}">{image}<figcaption>{change}</figcaption></figure>')
    st.html(f'{STYLE}<div class="changed">{"".join(figures)}</div>')


def _draw_all(context: PageContext, effect: Effect) -> None:
    """Draws the images that labels changed, the predicted class before and after, and buttons that open them."""
    ids = [row.sample_id for row in effect.changed[:MAX_SELECTED]]
    why = f"whose predictions the last {count(effect.labels, 'label')} changed"
    with st.container(horizontal=True):
        for page in selection.PAGES:
            selection.button(context, page, ids, why, key=f"changed-{page}", primary=page == "review")
    _draw_thumbnails(context, effect.changed[:MAX_THUMBNAILS])
    if len(effect.changed) > MAX_THUMBNAILS:
        st.caption(f"The first {MAX_THUMBNAILS} of {len(effect.changed):,}.")
