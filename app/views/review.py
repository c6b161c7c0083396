"""The review page: the images worth looking at, each with our guess and why, and a key for every answer.

Which images are next is decided once and stays until the reviewer asks for others, so that no press can land on an
image that slipped under it; every press carries the id of the sample it was meant for. Images that somebody else is
looking at are left to them.
"""

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import streamlit as st

from gradebook.app import context as at
from gradebook.app import review_component
from gradebook.app.context import Desk
from gradebook.app.review_actions import Deed, Press, Refused, answer, class_keys, presses, sitting
from gradebook.app.text import capital, count, plain
from gradebook.app.views import class_form, fiftyone_button, keyboard_help, next_steps, review_filters, selection
from gradebook.app.views.review_filters import Choices
from gradebook.pipelines.curation import label_propagation, leases, queue_items, review_queue
from gradebook.pipelines.curation.event_cache import EventCache
from gradebook.pipelines.curation.queue_items import Only, Row
from gradebook.storage.project import ProjectError

SPREAD = partial(review_queue.rank, spread=True)  # images that are not all the same one
AHEAD = 8  # images that the browser holds
CHUNK = 100  # images that are ranked at once
Draw = Callable[..., None]
Rank = Callable[..., list[Row]]


@dataclass(slots=True, kw_only=True)
class Batch:
    """What one reviewer has before them: it changes with the choices, or on request."""

    choices: Choices
    name: str = field(default_factory=lambda: uuid.uuid4().hex)  # tells the browser that this is another batch
    rows: dict[str, Row] = field(default_factory=dict)  # by sample id, in the order of the queue
    problem: str | None = None  # why it goes without the run's opinion
    exhausted: bool = False  # there is nothing beyond `rows`
    skipped: set[str] = field(default_factory=set)
    refused: list[Refused] = field(default_factory=list)
    undone: dict[str, str] = field(default_factory=dict)  # the press of an undo -> the sample it was about
    record: str | None = None  # the sample whose record was asked for
    word: str | None = None  # to tell the reviewer, once


def render(desk: Desk, *, rank: Rank = SPREAD, draw: Draw = review_component.mount) -> None:
    """Draws the page.

    Args:
        desk: the open project.
        rank: gives the queue, as `gradebook.pipelines.curation.review_queue.rank` does.
        draw: draws the board, as `gradebook.app.review_component.mount` does.
    """
    with st.container(horizontal=True, vertical_alignment="center"):
        st.title("Review", width="stretch")
        with st.popover("Keys", icon=":material/keyboard:"):
            keyboard_help.draw()
    if not desk.store.project.classes:
        class_form.render(desk)
        return
    if not at.read_stats(desk.store).samples:
        st.info("There are no images to review yet.", icon=":material/add_photo_alternate:")
        next_steps.links(desk, [("images", "Bring some in")])
        return
    chosen = selection.chosen(desk) if "selection" in st.query_params else rank
    if chosen is None:
        return
    st.fragment(_board)(desk, chosen, draw, review_filters.ask(desk))


def _board(desk: Desk, rank: Rank, draw: Draw, asked: Choices) -> None:
    """Draws the images and hears what is said of them; after a press only this much of the page runs again."""
    grid = asked.grid
    batch = _batch(asked)
    key = f"board-{'grid' if grid else 'one'}"
    more = partial(_extend, desk, rank, batch, asked.reason, asked.only, asked.size if grid else CHUNK)
    book = at.read_book(desk.store)
    order = _in_order(desk, book, batch, more, asked.size if grid else AHEAD, grid=grid)
    if batch.problem:
        st.info(f"{plain(capital(batch.problem))}. Until then, images come without a guess.")
    draw(key, _data(desk, book, batch, order, key, grid=grid), on_said=partial(_heard, desk, batch, key))
    if batch.word is not None:
        st.toast(plain(batch.word))
    batch.refused, batch.undone, batch.word = [], {}, None
    if order:
        fiftyone_button.link(desk, order if grid else order[:1])
    next_steps.to_the_first_run(desk, book)
    if batch.record is not None:
        sample_id, batch.record = batch.record, None
        st.switch_page(desk.pages["evolution"], query_params={**desk.query, "sample": sample_id, **selection.kept()})


def _batch(choices: Choices) -> Batch:
    """Returns what the reviewer has before them, another one where the choices are others."""
    batch: Batch | None = st.session_state.get("batch")
    if batch is None or batch.choices != choices:
        batch = st.session_state["batch"] = Batch(choices=choices)
    return batch


def _in_order(
    desk: Desk, book: EventCache, batch: Batch, more: Callable[[], None], most: int, *, grid: bool
) -> list[str]:
    """Returns the samples to show, which nobody else is shown meanwhile; in a grid those that are answered, too."""
    empty, waiting = not batch.rows, _waiting(book, batch)
    busy = leases.held_by_others(desk.store.project, _holder(desk))
    if not batch.exhausted and (empty or (not grid and sum(i not in busy for i in waiting) < most)):
        more()
        waiting = _waiting(book, batch)
    held = leases.hold(desk.store.project, _holder(desk), waiting, most)
    if not grid:
        return held
    if empty:  # the page is made now: it keeps what it holds
        batch.rows, batch.exhausted = {i: batch.rows[i] for i in held}, bool(held)
    return list(batch.rows)


def _waiting(book: EventCache, batch: Batch) -> list[str]:
    return [i for i, row in batch.rows.items() if i not in batch.skipped and not _is_answered(book, row)]


def _is_answered(book: EventCache, row: Row) -> bool:
    """Tells whether the sample was decided since it came into the batch; a label in question is no answer."""
    decision = book.decided.get(row.sample_id)
    return decision is not None and decision.event_id != row.decision


def _extend(desk: Desk, rank: Rank, batch: Batch, reason: str | None, only: Only | None, many: int) -> None:
    """Adds the next images of the queue to the batch."""
    waiting = len(_waiting(at.read_book(desk.store), batch)) + len(batch.skipped)
    limit = many + waiting + len(leases.held_by_others(desk.store.project, _holder(desk)))
    with st.spinner("Looking for images worth your time"):
        rows, batch.problem = _ranked(desk, rank, reason, only, limit)
    new = [row for row in rows if row.sample_id not in batch.rows]
    batch.rows |= {row.sample_id: row for row in new}
    batch.exhausted = batch.exhausted or len(rows) < limit


def _ranked(desk: Desk, rank: Rank, reason: str | None, only: Only | None, limit: int) -> tuple[list[Row], str | None]:
    """Returns the queue, and why it goes without the run's opinion if it does."""
    chosen = "selection" in st.query_params  # what somebody chose is all there is
    more = {} if only is None or chosen else {"only": only}
    try:
        rows = rank(desk.store, desk.run, reason=reason, limit=limit, **more)
        return [row for row in rows if only is None or only.takes(row.label, row.probability)], None
    except ProjectError as error:
        return rank(desk.store, None, limit=limit), str(error)


def _data(desk: Desk, book: EventCache, batch: Batch, order: Sequence[str], key: str, *, grid: bool) -> dict[str, Any]:
    """Returns what the browser is told."""
    said = st.session_state.get(key, {}).get("said") or {}
    have = {i for i in said.get("have") or [] if isinstance(i, str)} if said.get("batch") == batch.name else set()
    heard = st.session_state.get("heard", ())
    project, tally = desk.store.project, sitting(book, desk.actor)
    return {
        "batch": batch.name,
        "grid": grid,
        "order": list(order),
        "cards": review_component.cards(desk, book, [batch.rows[i] for i in order], have, grid=grid),
        "answers": review_component.answers(book, have | set(order), batch.rows, desk.actor),
        "heard": [press.press_id for press in presses(said.get("presses")) if press.press_id in heard],
        "refused": [review_component.refusal(one) for one in batch.refused],
        "undone": batch.undone,
        "classes": list(project.classes),
        "keys": class_keys(project.classes),
        "record": "evolution" in desk.pages,
        "like": bool(book.decided),
        "empty": "" if order else _nothing(batch),
        "tally": {
            "given": tally.given,
            "agreed": tally.agreed,
            "guessed": tally.guessed,
            "a_minute": tally.a_minute,
            "labelled": len(at.read_training_labels(desk.store, book)),
        },
    }


def _nothing(batch: Batch) -> str:
    if batch.skipped:
        return f"Nothing is left but {count(len(batch.skipped), 'image')} that you skipped."
    if batch.choices.selection is not None:
        return "All of these have their answer."
    if batch.choices.reason is None and batch.choices.only is None:
        return "Nothing is left to review: every image to train on has its answer, or somebody is looking at it."
    return "No image is left to look at for this choice: choose another."


def _heard(desk: Desk, batch: Batch, key: str) -> None:
    """Does what the browser says that the reviewer has done; it says so again until it is told that this was heard."""
    heard: set[str] = st.session_state.setdefault("heard", set())
    said = presses((st.session_state[key].get("said") or {}).get("presses"))
    new = [press for press in said if press.press_id not in heard]
    try:
        batch.refused, batch.undone = answer(desk, new, batch.rows)
    except ProjectError as error:
        batch.word = capital(str(error))
        return
    heard.update(press.press_id for press in new)
    _bring_back(desk, batch, batch.undone.values())
    for press in new:
        _do(desk, batch, press)


def _do(desk: Desk, batch: Batch, press: Press) -> None:
    """Does what is no verdict."""
    if press.deed is Deed.SKIP:
        batch.skipped.add(press.sample_id)
    elif press.deed is Deed.MORE:
        st.session_state.pop("batch", None)
    elif press.deed is Deed.RECORD and "evolution" in desk.pages:
        batch.record = press.sample_id
    elif press.deed is Deed.ALIKE:
        _ask_alike(desk, batch, press.sample_id)


def _bring_back(desk: Desk, batch: Batch, sample_ids: Iterable[str]) -> None:
    """Puts samples whose answer was taken back before all others, also those of an earlier batch."""
    for sample_id in sample_ids:
        batch.skipped.discard(sample_id)
        (sample,) = desk.store.catalog.get([sample_id])
        row = batch.rows.get(sample_id) or queue_items.unseen(sample)
        batch.rows = {sample_id: row, **{i: other for i, other in batch.rows.items() if i != sample_id}}


def _ask_alike(desk: Desk, batch: Batch, sample_id: str) -> None:
    """Proposes the sample's label for its neighbours; a person looks at each of them before it is labelled."""
    try:
        found = label_propagation.neighbours(desk.store, sample_id)
        new = label_propagation.propose(desk.store, found, actor=desk.actor)
    except ProjectError as error:
        batch.word = capital(str(error))
        return
    rows = {row.sample_id: row for row in review_queue.rank(desk.store, None, limit=len(found)) if row.proposal}
    if not batch.choices.grid:  # a grid's images stay in their places
        kept = {i: row for i, row in batch.rows.items() if i not in rows}
        batch.rows = rows | kept
    batch.word = f"{count(new, 'image')} like it come next." if rows else "There is none like it without a label."


def _holder(desk: Desk) -> str:
    """Returns the name under which this window holds samples."""
    window: str = st.session_state.setdefault("window", uuid.uuid4().hex)
    return f"{desk.actor} {window}"
