"""The review page: the images worth looking at, each with our guess and why, and a press for every answer.

The images on the page stay where they are until the reviewer asks for more, so that no press can land on an image
that slipped under it; every press carries the id of the sample it was drawn with.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import streamlit as st

from app import desk as at
from app.desk import Book, Desk
from app.review import class_keys
from app.views import elsewhere, selection
from app.words import DEEDS, ago, count, percent, plain, who
from pipelines import propagate, queue_up
from pipelines.queue_up import Row
from pipelines.verdicts import Shown, last_verdict
from storage.events import Event
from storage.project import ProjectError

ANY = "any"
SPREAD = partial(queue_up.rank, spread=True)  # a page of images that are not all the same one
SIZES = (8, 12, 24, 48)
PIXELS = 480  # of a tile's image, for screens with two pixels a point
MORE_LIKE = "Puts the unlabelled images most like it next in the queue, with its label as the guess. It labels nothing."
NO_CLASS = "No class of the project applies to the image."
HIGH = 36  # pixels: a box to choose from

STYLE = """<style>
.st-key-grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: 0.9rem; }
.st-key-grid img { aspect-ratio: 1; object-fit: contain; width: 100%; background: #7f7f7f1c; border-radius: 0.35rem; }
.st-key-grid > div { height: 100%; }
[class*="st-key-tile-"] { padding: 0.6rem; gap: 0.45rem; height: 100%; }
[class*="st-key-why-"] { min-height: 5.4rem; }
div:has(> .st-key-bar) { position: sticky; top: 0; z-index: 9; }
.st-key-bar { background: Canvas; padding: 0.6rem; }
.st-key-framed img { aspect-ratio: 1; object-fit: contain; width: 100%; background: #7f7f7f1c; border-radius: 0.35rem; }
</style>"""


def render(desk: Desk, *, rank: Callable[..., list[Row]] = SPREAD) -> None:
    """Draws the page.

    Args:
        desk: the open project.
        rank: gives the queue, as `pipelines.queue_up.rank` does.
    """
    st.title("Review")
    if not desk.store.project.classes:
        st.info("The project has no classes to choose from. Name them with:", icon=":material/label:")
        st.code(f"gradebook classes {desk.root} --add a,b,c", language="bash")
        return
    if "selection" in st.query_params and (rank := selection.chosen(desk)) is None:
        return
    reason, size = _choices()
    rows = _batch(desk, rank, None if reason == ANY else reason, size)
    book = at.read_book(desk.store)
    if not rows:
        _nothing(reason)
        return
    waiting = [row for row in rows if _answer(book, row) is None]
    _bar(desk, book, rows, waiting)
    st.html(STYLE + _marks(rows, waiting))
    with st.container(key="grid"):
        for row in rows:
            _tile(desk, row, _answer(book, row), framed=bool(waiting) and row is waiting[0])
    elsewhere.link(desk, [row.sample_id for row in rows])


def _answer(book: Book, row: Row) -> Event | None:
    """Returns the event that has decided the sample since it came onto the page; a label in question is no answer."""
    decision = book.decided.get(row.sample_id)
    return None if decision is None or decision.event_id == row.decision else decision


def _choices() -> tuple[str, int]:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        reasons = {ANY: "Whatever is most doubtful", **{name: _capital(s) for name, s in queue_up.sentences().items()}}
        reason = st.selectbox("Look for", list(reasons), format_func=reasons.__getitem__, key="reason", width=420)
        size = st.segmented_control("Images", SIZES, default=12, required=True, key="size")
    return reason, size


def _batch(desk: Desk, rank: Callable[..., list[Row]], reason: str | None, size: int) -> list[Row]:
    """Returns the rows on the page, which change only with the choices or on request."""
    key = (desk.root, desk.run.name if desk.run else None, reason, size, st.query_params.get("selection"))
    if st.session_state.get("batch_key") != key:
        with st.spinner("Looking for images worth your time"):
            rows, problem = _ranked(desk, rank, reason, size)
        st.session_state.update(batch=rows, batch_problem=problem, batch_key=key)
    if problem := st.session_state["batch_problem"]:
        st.info(f"{plain(_capital(problem))}. Until then, images come without a guess.")
    return list(st.session_state["batch"])


def _ranked(desk: Desk, rank: Callable[..., list[Row]], reason: str | None, size: int) -> tuple[list[Row], str | None]:
    """Returns the queue, and why it goes without the run's opinion if it does."""
    try:
        return rank(desk.store, desk.run, reason=reason, limit=size), None
    except ProjectError as error:
        return rank(desk.store, None, limit=size), str(error)


def _nothing(reason: str) -> None:
    if "selection" in st.query_params:
        st.success("All of these have their answer.", icon=":material/done_all:")
    elif reason == ANY:
        st.success("Nothing is left to review: every image to train on has its answer.", icon=":material/done_all:")
    else:
        st.info("No image is left to look at for this reason: choose another.", icon=":material/search_off:")
    st.button("Look again", on_click=_more, icon=":material/refresh:")


def _bar(desk: Desk, book: Book, rows: Sequence[Row], waiting: Sequence[Row]) -> None:
    """Draws the framed image with its keys, how far the page is, and the ways back and on; it stays in sight."""
    done = len(rows) - len(waiting)
    with st.container(border=True, horizontal=True, wrap=False, key="bar"):
        if waiting and (content := at.picture(waiting[0], PIXELS)) is not None:
            with st.container(width=106, key="framed"):
                st.image(content, width="stretch", alt="the framed image")
        with st.container(gap="small"):
            with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
                if waiting:
                    _keys(desk, waiting[0])
                else:
                    st.markdown("**All of these have their answer.**", width="content")
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                st.progress(done / len(rows), text=f"{done} of {count(len(rows), 'image')} answered")
                last = last_verdict(book.events, desk.actor)
                gone = last is None
                st.button("Undo", key="undo", shortcut="U", disabled=gone, on_click=at.take_back, args=(desk, last))
                st.button(
                    "More images",
                    key="more",
                    shortcut="M",
                    type="secondary" if waiting else "primary",
                    on_click=_more,
                )


def _keys(desk: Desk, row: Row) -> None:
    classes = desk.store.project.classes
    if row.label is not None:
        _button(desk, row, f"Accept {plain(row.label)}", row.label, name="key-accept", shortcut="A", type="primary")
    if row.given not in (None, row.label):
        _button(desk, row, f"Keep {plain(str(row.given))}", row.given, name="key-keep", shortcut="K")
    for key, label in class_keys(classes).items():
        _button(desk, row, plain(label), label, name=f"key-{key}", shortcut=key)
    _button(desk, row, "Reject", None, name="key-reject", shortcut="X", help=NO_CLASS)


def _tile(desk: Desk, row: Row, decision: Event | None, *, framed: bool) -> None:
    with st.container(border=True, key=f"tile-{row.sample_id}"):
        content = at.picture(row, PIXELS)
        if content is None:
            st.warning("This file cannot be read.", icon=":material/broken_image:")
        else:
            st.image(content, width="stretch", alt=row.label or "unlabelled image")
        if decision is not None:
            _answered(desk, row, decision)
            return
        _guess(desk, row)
        with st.container(horizontal=True, gap="xsmall"):
            if row.label is not None:
                look = "primary" if framed else "secondary"
                _button(desk, row, "Accept", row.label, name="accept", type=look, icon=":material/check:")
            if row.given not in (None, row.label):
                _button(desk, row, "Keep", row.given, name="keep", help="The label that it has is right.")
            _button(desk, row, "Reject", None, name="reject", icon=":material/block:", help=NO_CLASS)
        st.selectbox(
            "Another label",
            [label for label in desk.store.project.classes if label != row.label],
            index=None,
            placeholder="Another label" if row.label else "Choose a label",
            label_visibility="collapsed",
            key=f"other-{row.sample_id}",
            on_change=_choose_other,
            args=(desk, row),
        )


def _guess(desk: Desk, row: Row) -> None:
    with _line():
        sure = "" if row.probability is None else f" &nbsp;{percent(row.probability)}"
        given = "" if row.given is None else f"  \nlabelled {plain(row.given)}"
        st.markdown(("*No guess yet*" if row.label is None else f"**{plain(row.label)}**{sure}") + given)
        st.space("stretch")
        _to_record(desk, row.sample_id)
    strongest = sorted(row.reasons.items(), key=lambda item: -item[1])[:2]
    with st.container(key=f"why-{row.sample_id}"):
        lines = [
            f"{_dots(score)} {plain(_capital(queue_up.sentence_of(name)))}" for name, score in strongest if score > 0
        ]
        st.caption("  \n".join(lines))


def _answered(desk: Desk, row: Row, decision: Event) -> None:
    """Draws the answer in as much room as the question took, so that nothing below moves."""
    with _line():
        label = f"**{plain(decision.label)}**" if decision.label is not None else "*No class*"
        st.markdown(f":material/check_circle: {label}")
        st.space("stretch")
        _to_record(desk, row.sample_id)
    with st.container(key=f"why-{row.sample_id}"):
        st.caption(f"{DEEDS[decision.kind]} by {plain(who(decision.actor))}  \n{ago(decision.at)}")
    st.button("Undo", key=f"undo-{row.sample_id}", on_click=at.take_back, args=(desk, decision))
    if decision.label is None:
        st.space(HIGH)
    else:
        st.button("More like this", key=f"alike-{row.sample_id}", on_click=_ask_alike, args=(desk, row), help=MORE_LIKE)


def _line() -> Any:
    """Returns a container for words on the left and a link on the right."""
    return st.container(horizontal=True, vertical_alignment="center", gap="xxsmall", wrap=False)


def _button(desk: Desk, row: Row, text: str, label: str | None, *, name: str, **look: Any) -> None:
    st.button(text, key=f"{name}-{row.sample_id}", on_click=_decide, args=(desk, row, label), **look)


def _to_record(desk: Desk, sample_id: str) -> None:
    if "record" in desk.pages:
        query = {**desk.query, "sample": sample_id, **selection.kept()}
        st.page_link(desk.pages["record"], label="Record", query_params=query, width="content")


def _decide(desk: Desk, row: Row, label: str | None) -> None:
    run = desk.run.name if desk.run else None
    shown = Shown(
        sample_id=row.sample_id,
        label=row.label,
        probability=row.probability,
        reasons=row.reasons,
        run=run,
        proposal=row.proposal,
    )
    now = at.read_book(desk.store).decided.get(row.sample_id)
    questioned = now if now is not None and now.event_id == row.decision else None
    quicker = at.decide(desk, shown, label, over=questioned)
    if quicker is not None and quicker.actor != desk.actor:
        st.toast(f"{plain(who(quicker.actor))} has answered this image already.")


def _choose_other(desk: Desk, row: Row) -> None:
    if (label := st.session_state[f"other-{row.sample_id}"]) is not None:
        _decide(desk, row, label)


def _ask_alike(desk: Desk, row: Row) -> None:
    """Proposes the sample's label for its neighbours; a person looks at each of them before it is labelled."""
    try:
        found = propagate.neighbours(desk.store, row.sample_id)
        new = propagate.propose(desk.store, found, actor=desk.actor)
    except ProjectError as error:
        st.toast(plain(_capital(str(error))))
        return
    st.toast(f"{count(new, 'image')} like it will come first when you press More images.")


def _more() -> None:
    st.session_state.pop("batch_key", None)


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _dots(score: float) -> str:
    """Returns a score in [0, 1] as four dots."""
    full = min(4, max(1, round(4 * score)))
    return "●" * full + "○" * (4 - full)


def _marks(rows: Sequence[Row], waiting: Sequence[Row]) -> str:
    """Returns the style that frames the image which the keys act on and dims those that are answered."""
    answered = [f".st-key-tile-{row.sample_id} img" for row in rows if row not in waiting]
    rules = [f"{', '.join(answered)} {{ opacity: 0.45; }}"] if answered else []
    rules += [
        f".st-key-tile-{row.sample_id} {{ outline: 3px solid #2C97A0; outline-offset: -1px; }}" for row in waiting[:1]
    ]
    return f"<style>{' '.join(rules)}</style>"
