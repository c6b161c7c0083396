"""A run: how its labels flowed between moments, and who says what against whom; each number leads to its images."""

import streamlit as st

from gradebook.app import record_access
from gradebook.app.context import Desk
from gradebook.app.figures import run as figures
from gradebook.app.text import count, plain, sentence
from gradebook.app.theme import is_dark
from gradebook.app.views import next_steps, opened
from gradebook.pipelines.reporting import training_dynamics
from gradebook.pipelines.reporting.training_dynamics import Move, Table
from gradebook.storage.label_snapshots import LabelSnapshots
from gradebook.storage.project import ProjectError

WHO = {"teacher": "Teacher", "student": "Student", "label": "Your labels"}
PAIRS = {"teacher-student": "Teacher, student", "label-teacher": "Labels, teacher", "label-student": "Labels, student"}
LISTED = 200  # moves and cells to choose from
STYLE = "<style>.st-key-compared [role=radiogroup] { flex-wrap: wrap; row-gap: 0.25rem; mask-image: none; }</style>"


def render(desk: Desk) -> None:
    """Draws it."""
    if desk.run is None:
        st.info("There is no run yet, so no label has moved.", icon=":material/model_training:")
        next_steps.links(desk, [("train", "Train one")])
        return
    try:
        said = record_access.read_flow(desk)
    except ProjectError as error:
        st.error(plain(sentence(str(error))), icon=":material/error:")
        return
    if said is None:
        st.caption(f"{plain(desk.run.name)} has recorded nothing yet.")
        return
    if len(said.classes) <= figures.FEW:
        left, right = st.columns([6, 5], gap="large")
    else:
        left, right = st.container(), st.container()
    with left:
        _flow(desk, said)
    with right:
        _confusion(desk)
    _open(desk, said)


def _flow(desk: Desk, said: LabelSnapshots) -> None:
    st.subheader("How labels moved")
    known = [who for who in ("teacher", "student") if (getattr(said, who) >= 0).any()]
    who = st.segmented_control(
        "Whose labels", known, format_func=WHO.__getitem__, default=known[0], required=True, key="flow-of"
    )
    labels = getattr(said, who)
    figure = figures.flow(said, labels, desk.store.project.classes, dark=is_dark())
    st.plotly_chart(figure, key=f"flow-{who}", config={"displayModeBar": False})
    found = training_dynamics.moves(labels)
    if not found:
        st.caption("No label changed between these moments.")
        return
    names = {f"move-{who}-{m.moment}-{m.before}-{m.after}": _move(said, m) for m in found[:LISTED]}
    _choice("Open the images that moved", names, f"moves-{who}")
    quiet = int((labels < 0).any(1).sum())
    unheard = f" {count(quiet, 'image')} had no record near one of the moments and are left out there." if quiet else ""
    st.caption(
        f"Of {count(len(said.sample_ids), 'image')} the last label said by each moment: first once every image had had "
        f"its turn, then at checkpoints. Bands that stay in their class are pale.{unheard}"
    )


def _confusion(desk: Desk) -> None:
    st.subheader("Who says what")
    st.html(STYLE)  # in a narrow window the last choice was cut off
    tables = {pair: _table(desk, pair) for pair in PAIRS}
    known = [pair for pair, table in tables.items() if table.sample_ids]
    if not known:
        st.caption("Nothing to compare: this run has a teacher or a student alone, and none of its images has a label.")
        return
    pair = st.segmented_control(
        "Compared", known, format_func=PAIRS.__getitem__, default=known[0], required=True, key="compared"
    )
    table, (rows, columns) = tables[pair], pair.split("-")
    ink = "#F2F0EA" if is_dark() else "#2B2B2B"
    figure = figures.confusion(table, WHO[rows], WHO[columns], _cell(pair), ink)
    key = f"cells-{pair}"
    st.plotly_chart(
        figure,
        key=key,
        on_select=lambda: _press(key, pair),
        selection_mode="points",
        config={"displayModeBar": False, "scrollZoom": False},
    )
    counts = table.counts()
    apart = [(r, c) for r in range(len(table.classes)) for c in range(len(table.classes)) if r != c and counts[r, c]]
    apart.sort(key=lambda cell: -int(counts[cell]))
    one, other, classes = WHO[rows], WHO[columns].lower(), table.classes
    names = {
        f"cell-{pair}-{r}-{c}": f"{one} {classes[r]}, {other} {classes[c]}: {counts[r, c]:,}" for r, c in apart[:LISTED]
    }
    _choice("Open a cell", names, f"apart-{pair}")
    agree = int(counts.trace()) / max(int(counts.sum()), 1)
    st.caption(
        f"At the end of the record they agree on {agree:.0%} of {count(len(table.sample_ids), 'image')}; shades are of "
        f"the numbers beside the diagonal. Press a number to open its images.{_left_out(len(table.classes))}"
    )


def _left_out(classes: int) -> str:
    return f" Of {classes} classes the {figures.CELLS} are drawn about which most is said." * (classes > figures.CELLS)


def _open(desk: Desk, said: LabelSnapshots) -> None:
    """Draws the images of the move or cell that the address names."""
    parts = st.query_params.get("open", "").split("-")
    match parts:
        case ["move", ("teacher" | "student") as who, m, a, b] if _numbers(m, a, b):
            move = Move(moment=int(m), before=int(a), after=int(b), count=0)
            if move.moment + 1 >= len(said.steps) or max(move.before, move.after) >= len(said.classes):
                return
            ids = training_dynamics.moved(said, getattr(said, who), move.moment, move.before, move.after)
            why = (
                f"went from {said.classes[move.before]} to {said.classes[move.after]} for the {who} of {_name(desk)}, "
            )
            why += f"steps {said.steps[move.moment]} to {said.steps[move.moment + 1]}"
        case ["cell", rows, columns, a, b] if f"{rows}-{columns}" in PAIRS and _numbers(a, b):
            table = _table(desk, f"{rows}-{columns}")
            if max(int(a), int(b)) >= len(table.classes):
                return
            ids = table.cell(int(a), int(b))
            one, other = table.classes[int(a)], table.classes[int(b)]
            why = f"are {one} to {_to(rows)} and {other} to {_to(columns)}, {_name(desk)}"
        case _:
            return
    st.divider()
    if ids:
        opened.draw(desk, ids, why)
    else:
        st.caption("No image is there any more.")


def _choice(label: str, names: dict[str, str], key: str) -> None:
    """Draws a box of what can be opened, which is also the way to it by keyboard."""
    now = st.query_params.get("open")
    st.session_state[key] = now if now in names else None
    st.selectbox(
        label,
        list(names),
        index=None,
        format_func=names.__getitem__,
        key=key,
        placeholder=label,
        label_visibility="collapsed",
        on_change=_choose,
        args=(key,),
    )


def _choose(key: str) -> None:
    if (chosen := st.session_state[key]) is not None:
        st.query_params["open"] = chosen
    else:
        st.query_params.pop("open", None)


def _press(key: str, pair: str) -> None:
    points = st.session_state[key]["selection"]["points"]
    if points:
        row, column = points[0]["customdata"]
        st.query_params["open"] = f"cell-{pair}-{row}-{column}"


def _cell(pair: str) -> tuple[int, int] | None:
    start, _, cell = st.query_params.get("open", "").partition(f"cell-{pair}-")
    parts = cell.split("-")
    return (int(parts[0]), int(parts[1])) if not start and len(parts) == 2 and _numbers(*parts) else None


def _table(desk: Desk, pair: str) -> Table:
    rows, columns = pair.split("-")
    return record_access.read_table(desk, rows, columns)


def _move(said: LabelSnapshots, move: Move) -> str:
    steps = f"steps {said.steps[move.moment]:,} to {said.steps[move.moment + 1]:,}"
    return f"{said.classes[move.before]} → {said.classes[move.after]}, {steps}: {move.count:,}"


def _to(who: str) -> str:
    return "people" if who == "label" else f"the {who}"


def _name(desk: Desk) -> str:
    return desk.run.name if desk.run else ""


def _numbers(*texts: str) -> bool:
    return all(text.isdecimal() and text.isascii() for text in texts)
