"""A run: the flow of its labels, and confusion matrices of teacher, student and labels; numbers open their images."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st

from gradebook.app import record_access
from gradebook.app.context import PageContext
from gradebook.app.figures import run as figures
from gradebook.app.figures.common import class_colors
from gradebook.app.text import as_sentence, count, plain
from gradebook.app.theme import is_dark
from gradebook.app.views import next_steps, sample_gallery
from gradebook.pipelines.reporting import training_dynamics
from gradebook.pipelines.reporting.training_dynamics import CrossTable, LabelChange
from gradebook.pipelines.runs import Run
from gradebook.storage.label_snapshots import LabelSnapshots
from gradebook.storage.project import ProjectError
from gradebook.storage.store import Store

SOURCES = {"teacher": "Teacher", "student": "Student", "label": "Labels"}
PAIRS = {"teacher-student": "Teacher, student", "label-teacher": "Labels, teacher", "label-student": "Labels, student"}
MAX_OPTIONS = 200  # moves or cells in a select box
STYLE = "<style>.st-key-compared [role=radiogroup] { flex-wrap: wrap; row-gap: 0.25rem; mask-image: none; }</style>"


@dataclass(frozen=True, slots=True)
class Group:
    """The images of a move or a cell."""

    sample_ids: list[str]
    why: str  # what they have in common


def render(context: PageContext) -> None:
    """Draws the context's run."""
    store, run = context.store, context.run
    if run is None:
        st.info("There is no run yet.", icon=":material/model_training:")
        next_steps.links(context, [("train", "Train")])
        return
    try:
        snapshots = record_access.label_snapshots(store, run)
    except ProjectError as error:
        st.error(plain(as_sentence(str(error))), icon=":material/error:")
        return
    if snapshots is None:
        st.caption(f"{plain(run.name)} has not recorded anything yet.")
        return
    if len(snapshots.classes) <= figures.MAX_COLUMN_CLASSES:
        left, right = st.columns([6, 5], gap="large")
    else:
        left, right = st.container(), st.container()
    with left:
        _draw_flow(snapshots, class_colors(store.project.styled_classes))
    with right:
        _draw_confusion(store, run)
    _draw_open_group(context, run, snapshots)


def _draw_flow(snapshots: LabelSnapshots, colors: Mapping[str, str]) -> None:
    st.subheader("Label flow")
    networks = [network for network in ("teacher", "student") if (getattr(snapshots, network) >= 0).any()]
    network = st.segmented_control(
        "Labels of", networks, format_func=SOURCES.__getitem__, default=networks[0], required=True, key="flow-of"
    )
    labels = getattr(snapshots, network)
    figure = figures.label_flow(snapshots, labels, colors, dark=is_dark())
    st.plotly_chart(figure, key=f"flow-{network}", config={"displayModeBar": False})
    changes = training_dynamics.count_label_changes(labels)
    if not changes:
        st.caption("No label changed between these steps.")
        return
    options = {f"move-{network}-{c.snapshot}-{c.before}-{c.after}": _describe_change(snapshots, c) for c in changes}
    _select("Open the images that changed", options, f"moves-{network}")
    unrecorded = int((labels < 0).any(1).sum())
    left_out = (
        f" {count(unrecorded, 'image')} without a record near one of the steps are left out." if unrecorded else ""
    )
    st.caption(
        f"The latest label of {count(len(snapshots.sample_ids), 'image')} at each step. At the first step every image "
        f"had been recorded once; the others are checkpoints. Pale bands keep their class.{left_out}"
    )


def _draw_confusion(store: Store, run: Run) -> None:
    st.subheader("Confusion matrix")
    st.html(STYLE)  # otherwise a narrow window cuts the last choice off
    tables = {pair: _cross_table(store, run, pair) for pair in PAIRS}
    pairs = [pair for pair, table in tables.items() if table.sample_ids]
    if not pairs:
        st.caption("There is nothing to compare: the run has one network, and none of its images has a label.")
        return
    pair = st.segmented_control(
        "Compare", pairs, format_func=PAIRS.__getitem__, default=pairs[0], required=True, key="compared"
    )
    table, (rows, columns), key = tables[pair], pair.split("-"), f"cells-{pair}"
    ink, colors = "#F2F0EA" if is_dark() else "#2B2B2B", class_colors(store.project.styled_classes)
    figure = figures.confusion_matrix(table, SOURCES[rows], SOURCES[columns], _open_cell(pair), ink, colors)
    config = {"displayModeBar": False, "scrollZoom": False}
    st.plotly_chart(figure, key=key, on_select=lambda: _save_cell(key, pair), selection_mode="points", config=config)
    _select("Open a cell", _cell_options(table, pair), f"apart-{pair}")
    counts, classes = table.counts(), len(table.classes)
    agreement = int(counts.trace()) / max(int(counts.sum()), 1)
    shown = f" The {figures.MAX_MATRIX_CLASSES} most frequent of {classes} classes are shown."
    st.caption(
        f"They agree on {agreement:.0%} of {count(len(table.sample_ids), 'image')} at the end of training. Click a "
        f"number to open its images.{shown if classes > figures.MAX_MATRIX_CLASSES else ''}"
    )


def _cell_options(table: CrossTable, pair: str) -> dict[str, str]:
    """Returns the cells off the diagonal, the largest first: what the address has -> description."""
    counts, classes = table.counts(), table.classes
    row_source, column_source = (SOURCES[source] for source in pair.split("-"))
    cells = [(r, c) for r in range(len(classes)) for c in range(len(classes)) if r != c and counts[r, c]]
    cells.sort(key=lambda cell: -int(counts[cell]))
    return {
        f"cell-{pair}-{r}-{c}": f"{row_source} {classes[r]}, {column_source.lower()} {classes[c]}: {counts[r, c]:,}"
        for r, c in cells
    }


def _draw_open_group(context: PageContext, run: Run, snapshots: LabelSnapshots) -> None:
    """Draws the images of the label change or cell in the address."""
    group = _parse_group(context.store, run, snapshots, st.query_params.get("open", ""))
    if group is None:
        return
    st.divider()
    if group.sample_ids:
        sample_gallery.draw_group(context, group.sample_ids, group.why, max_selected=sample_gallery.MAX_SELECTED)
        sample_gallery.draw_first(context, group.sample_ids)
    else:
        st.caption("It has no images any more.")


def _parse_group(store: Store, run: Run, snapshots: LabelSnapshots, text: str) -> Group | None:
    """Returns the images that an address names, None if it names none."""
    match text.split("-"):
        case ["move", ("teacher" | "student") as network, *indices] if len(indices) == 3 and _are_numbers(*indices):
            snapshot, before, after = (int(index) for index in indices)
            if snapshot + 1 >= len(snapshots.steps) or max(before, after) >= len(snapshots.classes):
                return None
            labels = getattr(snapshots, network)
            ids = training_dynamics.changed_samples(snapshots, labels, snapshot, before, after)
            start, end = snapshots.steps[snapshot : snapshot + 2]
            names = f"from {snapshots.classes[before]} to {snapshots.classes[after]}"
            return Group(ids, f"changed {names} for the {network} of {run.name}, steps {start} to {end}")
        case ["cell", rows, columns, row, column] if f"{rows}-{columns}" in PAIRS and _are_numbers(row, column):
            table = _cross_table(store, run, f"{rows}-{columns}")
            if max(int(row), int(column)) >= len(table.classes):
                return None
            first, second = table.classes[int(row)], table.classes[int(column)]
            why = f"{_verb(rows)} {first}, {_verb(columns)} {second}, {run.name}"
            return Group(table.cell(int(row), int(column)), why)
        case _:
            return None


def _select(label: str, options: Mapping[str, str], key: str) -> None:
    """Draws a box with what can be opened, which also makes it reachable by keyboard."""
    listed = dict(list(options.items())[:MAX_OPTIONS])
    current = st.query_params.get("open")
    st.session_state[key] = current if current in listed else None
    st.selectbox(
        label,
        list(listed),
        index=None,
        format_func=listed.__getitem__,
        key=key,
        placeholder=label,
        label_visibility="collapsed",
        on_change=_save_option,
        args=(key,),
    )


def _save_option(key: str) -> None:
    if (option := st.session_state[key]) is not None:
        st.query_params["open"] = option
    else:
        st.query_params.pop("open", None)


def _save_cell(key: str, pair: str) -> None:
    points: Any = st.session_state[key]["selection"]["points"]
    if points:
        row, column = points[0]["customdata"]
        st.query_params["open"] = f"cell-{pair}-{row}-{column}"


def _open_cell(pair: str) -> tuple[int, int] | None:
    """Returns the cell of a pair that the address names."""
    start, _, cell = st.query_params.get("open", "").partition(f"cell-{pair}-")
    parts = cell.split("-")
    return (int(parts[0]), int(parts[1])) if not start and len(parts) == 2 and _are_numbers(*parts) else None


def _cross_table(store: Store, run: Run, pair: str) -> CrossTable:
    rows, columns = pair.split("-")
    return record_access.cross_table(store, run, rows, columns)


def _describe_change(snapshots: LabelSnapshots, change: LabelChange) -> str:
    steps = f"steps {snapshots.steps[change.snapshot]:,} to {snapshots.steps[change.snapshot + 1]:,}"
    return f"{snapshots.classes[change.before]} → {snapshots.classes[change.after]}, {steps}: {change.count:,}"


def _verb(source: str) -> str:
    return "labelled" if source == "label" else f"{source} predicts"


def _are_numbers(*texts: str) -> bool:
    return all(text.isdecimal() and text.isascii() for text in texts)
