"""The page Review: the images most worth labelling, each with its prediction and reasons, and a key for each verdict.

The next images are chosen once and stay until the reviewer requests others. A key therefore never applies to an image
that has just replaced another one, and each action names its sample. Images on another reviewer's screen are left out.
"""

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import streamlit as st

from gradebook.app import outbox_component, review_component, screens
from gradebook.app.context import PageContext
from gradebook.app.data_access import have_classes_changed, read_events, read_stats, training_labels
from gradebook.app.review_actions import (
    Action,
    Outcome,
    ReviewAction,
    class_keys,
    describe_failures,
    parse_actions,
    session_stats,
)
from gradebook.app.text import capitalized, count, plain
from gradebook.app.views import (
    blind_queues,
    class_form,
    fiftyone_button,
    keyboard_help,
    live_session,
    next_steps,
    review_filters,
    selection,
)
from gradebook.app.views.review_filters import ReviewFilters
from gradebook.pipelines.curation import label_propagation, leases, queue_items, review_queue
from gradebook.pipelines.curation.event_cache import EventCache
from gradebook.pipelines.curation.queue_items import Row
from gradebook.storage.class_changes import hex_color
from gradebook.storage.project import ProjectError
from gradebook.storage.store import Store

DIVERSE = partial(review_queue.rank, spread=True)  # a queue without near-duplicates
PREFETCHED = 8  # images that the browser holds
RANK_BATCH = 100  # images ranked at once
ACKNOWLEDGED = "acknowledged-actions"  # session key
Mount = Callable[..., None]
Rank = Callable[..., list[Row]]


@dataclass(slots=True, kw_only=True)
class Batch:
    """The images that a reviewer works on; replaced when the filters change, or on request."""

    filters: ReviewFilters
    name: str = field(default_factory=lambda: uuid.uuid4().hex)  # by which the browser notices a new batch
    rows: dict[str, Row] = field(default_factory=dict)  # by sample_id, in the order of the queue
    problem: str | None = None  # why the rows have no predictions
    exhausted: bool = False  # whether the queue has no further rows
    snapshot: int = 0  # of a live session, by which the rows are ordered
    skipped: set[str] = field(default_factory=set)
    outcome: Outcome = field(default_factory=Outcome)  # of the last message
    open_history: str | None = None  # the sample to open on the page Evolution
    message: str | None = None  # shown once
    outdated: set[str] = field(default_factory=set)  # samples whose card the browser has with an earlier row


def render(context: PageContext, *, rank: Rank = DIVERSE, mount: Mount = review_component.mount) -> None:
    """Draws the page.

    Args:
        context: of the page.
        rank: returns the queue, as `gradebook.pipelines.curation.review_queue.rank` does.
        mount: draws the component, as `gradebook.app.review_component.mount` does.
    """
    with st.container(horizontal=True, vertical_alignment="center"):
        st.title("Review", width="stretch")
        if context.store.project.classes:
            with st.popover("Classes", icon=":material/label:"):
                class_form.draw_changes(context)
        with st.popover("Keys", icon=":material/keyboard:"):
            keyboard_help.draw()
    class_form.draw_report(context)
    if not context.store.project.classes:
        class_form.render(context.store, context.actor)
        return
    if not read_stats(context.store).samples:
        st.info("There are no images to review yet.", icon=":material/add_photo_alternate:")
        next_steps.links(context, [("images", "Import images")])
        return
    with live_session.draw(context):
        blind_queues.draw(context)
        queue = selection.review_queue(context) if "selection" in st.query_params else rank
        if queue is not None:
            st.fragment(_draw_batch)(context, queue, mount, review_filters.ask(context))


def _draw_batch(context: PageContext, rank: Rank, mount: Mount, filters: ReviewFilters) -> None:
    """Draws the images. An action runs only this part of the page again, unless it has created a class."""
    if have_classes_changed(context.store):
        st.rerun()
    store, batch, key = context.store, _current_batch(filters), f"review-{'grid' if filters.grid else 'single'}"
    events = read_events(store)
    order = _update_order(context, events, batch, rank)
    screen = screens.Screen(store=store, run=context.run, actor=context.actor, rows=batch.rows)
    screens.remember(batch.name, screen)
    if batch.problem:
        st.info(f"{plain(capitalized(batch.problem))}. Until then, images have no predictions.")
    mount(key, _data(context, events, batch, order, key), on_message=partial(_on_message, context, batch, key))
    if batch.message is not None:
        st.toast(plain(batch.message))
    batch.outcome, batch.message, batch.outdated = Outcome(), None, set()
    if order:
        fiftyone_button.draw(store.project, order if filters.grid else order[:1], context.run)
    next_steps.suggest_first_run(context)
    if batch.open_history is not None:
        sample_id, batch.open_history = batch.open_history, None
        query = {**context.query, "sample": sample_id, **selection.query()}
        st.switch_page(context.pages["evolution"], query_params=query)


def _current_batch(filters: ReviewFilters) -> Batch:
    """Returns the reviewer's batch; a new one if the filters have changed."""
    batch: Batch | None = st.session_state.get("batch")
    if batch is None or batch.filters != filters:
        batch = st.session_state["batch"] = Batch(filters=filters)
    return batch


def _update_order(context: PageContext, events: EventCache, batch: Batch, rank: Rank) -> list[str]:
    """Returns the samples to show, leased to this window; a grid still shows those that have been decided."""
    project, holder, grid = context.store.project, _lease_holder(), batch.filters.grid
    shown = max(batch.filters.size, len(batch.rows)) if grid else PREFETCHED
    is_new, open_ids = not batch.rows, _open_ids(events, batch)
    held_by_others = leases.held_by_others(project, holder)
    if not grid and _follow_snapshot(context, events, batch, [i for i in open_ids if i not in held_by_others]):
        is_new, open_ids = True, _open_ids(events, batch)
    needs_more = is_new or (not grid and sum(i not in held_by_others for i in open_ids) < shown)
    if needs_more and not batch.exhausted:
        _add_rows(context, batch, rank)
        open_ids = _open_ids(events, batch)
    leased = leases.hold(project, holder, open_ids, shown)
    if not grid:
        return leased
    if is_new:  # a grid keeps the images that it begins with
        batch.rows, batch.exhausted = {i: batch.rows[i] for i in leased}, bool(leased)
    return list(batch.rows)


def _follow_snapshot(context: PageContext, events: EventCache, batch: Batch, open_ids: Sequence[str]) -> bool:
    """Drops rows that the browser does not hold if the session has a newer snapshot; returns whether it has."""
    newest = live_session.newest_snapshot(context.run)
    if newest == batch.snapshot:
        return False
    batch.snapshot, stays = newest, batch.skipped | set(open_ids[:PREFETCHED])
    if batch.filters.selection is None:
        rows = {i: row for i, row in batch.rows.items() if i in stays or _is_decided(events, row)}
        batch.rows, batch.exhausted = rows, False
    return True


def _open_ids(events: EventCache, batch: Batch) -> list[str]:
    return [i for i, row in batch.rows.items() if i not in batch.skipped and not _is_decided(events, row)]


def _is_decided(events: EventCache, row: Row) -> bool:
    """Returns whether a sample was decided after it came into the batch."""
    decision = events.decided.get(row.sample_id) or events.disputed.get(row.sample_id)
    return decision is not None and decision.event_id != row.decision


def _add_rows(context: PageContext, batch: Batch, rank: Rank) -> None:
    """Adds the next images of the queue to a batch."""
    store, filters = context.store, batch.filters
    passed_over = len(_open_ids(read_events(store), batch)) + len(batch.skipped)
    held_by_others = leases.held_by_others(store.project, _lease_holder())
    limit = (filters.size if filters.grid else RANK_BATCH) + passed_over + len(held_by_others)
    with nullcontext() if batch.rows else st.spinner("Ranking images"):
        rows, batch.problem = _ranked(context, filters, rank, limit)
    batch.rows |= {row.sample_id: row for row in rows if row.sample_id not in batch.rows}
    batch.exhausted = batch.exhausted or len(rows) < limit


def _ranked(context: PageContext, filters: ReviewFilters, rank: Rank, limit: int) -> tuple[list[Row], str | None]:
    """Returns the queue, and the error because of which it has no predictions, if any."""
    only = filters.only
    options = {} if only is None or filters.selection is not None else {"only": only}  # a selection is not filtered
    try:
        rows = rank(context.store, context.run, reason=filters.reason, limit=limit, **options)
        return [row for row in rows if only is None or only.matches(row.label, row.probability)], None
    except ProjectError as error:
        return rank(context.store, None, limit=limit), str(error)


def _data(context: PageContext, events: EventCache, batch: Batch, order: Sequence[str], key: str) -> dict[str, Any]:
    """Returns what the browser gets."""
    store, grid = context.store, batch.filters.grid
    message = st.session_state.get(key, {}).get("message") or {}
    same_batch = message.get("batch") == batch.name
    cached = {i for i in message.get("cached") or [] if isinstance(i, str) and same_batch} - batch.outdated
    acknowledged = st.session_state.get(ACKNOWLEDGED, ())
    actions = parse_actions(message.get("actions"), batch.name)
    return {
        "batch": batch.name,
        "project": outbox_component.storage_name(context),
        "grid": grid,
        "order": list(order),
        "cards": review_component.cards(context, events, [batch.rows[i] for i in order], cached, grid=grid),
        "decisions": review_component.new_decisions(events, cached | set(order), batch.rows, context.actor),
        "acknowledged": [action.action_id for action in actions if action.action_id in acknowledged],
        "conflicts": describe_failures(batch.outcome),
        "undone": batch.outcome.undone,
        "classes": list(store.project.classes),
        "colors": {one.name: hex_color(one) for one in store.project.styled_classes},
        "keys": class_keys(store.project.styled_classes),
        "has_history": "evolution" in context.pages,
        "has_similar": bool(events.decided),
        "empty_text": "" if order else review_filters.empty_text(batch.filters, len(batch.skipped)),
        "stats": {**asdict(session_stats(events, context.actor)), "labelled": len(training_labels(store))},
    }


def _on_message(context: PageContext, batch: Batch, key: str) -> None:
    """Carries out the actions of a message. The browser repeats them until they are acknowledged."""
    acknowledged: set[str] = st.session_state.setdefault(ACKNOWLEDGED, set())
    message = st.session_state[key].get("message") or {}
    actions = parse_actions(message.get("actions"), str(message.get("batch") or ""))
    new = [action for action in actions if action.action_id not in acknowledged]
    try:
        batch.outcome = screens.apply(context.store, context.actor, new)
    except ProjectError as error:
        batch.message = capitalized(str(error))
        return
    acknowledged.update(action.action_id for action in new)
    _move_to_front(context.store, batch, batch.outcome.undone.values())
    for action in new:
        _carry_out(context, batch, action)
    batch.message = live_session.start_with_first_label(context, new) or batch.message


def _carry_out(context: PageContext, batch: Batch, action: ReviewAction) -> None:
    """Carries out an action that writes no verdict."""
    if action.action is Action.SKIP:
        batch.skipped.add(action.sample_id)
    elif action.action is Action.UNSKIP and action.sample_id in batch.skipped:
        _move_to_front(context.store, batch, [action.sample_id])
    elif action.action is Action.MORE:
        st.session_state.pop("batch", None)
    elif action.action is Action.HISTORY and "evolution" in context.pages:
        batch.open_history = action.sample_id
    elif action.action is Action.SIMILAR:
        _propose_similar(context, batch, action.sample_id)


def _move_to_front(store: Store, batch: Batch, sample_ids: Iterable[str]) -> None:
    """Puts samples whose verdict was undone first, including those of an earlier batch."""
    for sample_id in sample_ids:
        batch.skipped.discard(sample_id)
        (sample,) = store.catalog.get([sample_id])
        row = batch.rows.get(sample_id) or queue_items.empty_row(sample)
        batch.rows = {sample_id: row, **{i: other for i, other in batch.rows.items() if i != sample_id}}


def _propose_similar(context: PageContext, batch: Batch, sample_id: str) -> None:
    """Proposes the sample's label for its nearest neighbours, which come next in the queue for review."""
    store = context.store
    try:
        neighbours = label_propagation.neighbours(store, sample_id)
        proposed = label_propagation.propose(store, neighbours, actor=context.actor)
    except ProjectError as error:
        batch.message = capitalized(str(error))
        return
    rows = {row.sample_id: row for row in review_queue.rank(store, None, limit=len(neighbours)) if row.proposal}
    if not rows:
        batch.message = "No similar image is unlabelled."
    elif batch.filters.grid:
        _add_similar_to_grid(store, batch, rows)
    else:
        batch.rows = rows | {i: row for i, row in batch.rows.items() if i not in rows}
        batch.message = f"{count(proposed, 'similar image')} come next."


def _add_similar_to_grid(store: Store, batch: Batch, rows: Mapping[str, Row]) -> None:
    """Marks the similar images that a grid has, which stay in their places, and adds the others at its end."""
    held = leases.held_by_others(store.project, _lease_holder())
    marked = rows.keys() & batch.rows.keys()
    added = {i: row for i, row in rows.items() if i not in batch.rows and i not in held}
    batch.rows |= {i: rows[i] for i in batch.rows if i in marked} | added
    batch.outdated |= marked
    batch.message = f"{count(len(marked), 'similar image')} marked in the grid, {len(added)} added at its end."


def _lease_holder() -> str:
    """Returns the id under which this window holds its leases: they stay its own when the reviewer types a name."""
    return str(st.session_state.setdefault("window", uuid.uuid4().hex))
