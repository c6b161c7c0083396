"""What review pages show, for verdicts that arrive after their page was left: the log has what was on the screen.

The browser names the batch of images that an action belongs to. Only the browser that got a batch has its name.
"""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import streamlit as st

from gradebook.app.review_actions import Outcome, ReviewAction, apply_actions
from gradebook.pipelines.curation.queue_items import Row
from gradebook.pipelines.runs import Run
from gradebook.storage.store import Store

MAX_SCREENS = 200  # per server; older ones are forgotten


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """What one review page shows."""

    store: Store
    run: Run | None  # whose predictions it shows
    actor: str  # who reviews
    rows: Mapping[str, Row]  # by sample_id


@dataclass(slots=True)
class _Screens:
    lock: threading.Lock = field(default_factory=threading.Lock)
    by_batch: OrderedDict[str, Screen] = field(default_factory=OrderedDict)


def remember(batch: str, screen: Screen) -> None:
    """Notes what a batch shows now."""
    screens = _screens()
    with screens.lock:
        screens.by_batch[batch] = screen
        screens.by_batch.move_to_end(batch)
        while len(screens.by_batch) > MAX_SCREENS:
            screens.by_batch.popitem(last=False)


def find(batch: str) -> Screen | None:
    """Returns what a batch shows, None if this server does not know it."""
    return _screens().by_batch.get(batch)


def apply(store: Store, actor: str, actions: Sequence[ReviewAction]) -> Outcome:
    """Writes the verdicts of actions, each with what its own batch shows; see `review_actions.apply_actions`.

    A batch that this server does not know, as after a restart, logs the verdicts without a prediction.

    Raises:
        ProjectError: see `gradebook.pipelines.curation.labelling.decide`.
    """
    total = Outcome()
    for batch, group in groupby(actions, key=lambda action: action.batch):
        screen = find(batch)
        known = screen is not None and screen.store.project.root == store.project.root
        run, rows = (screen.run, screen.rows) if screen is not None and known else (None, {})
        outcome = apply_actions(store, run, actor, list(group), rows)
        total = Outcome(
            conflicts=total.conflicts + outcome.conflicts,
            invalid=total.invalid + outcome.invalid,
            reasons=total.reasons | outcome.reasons,
            undone=total.undone | outcome.undone,
        )
    return total


@st.cache_resource(show_spinner=False)
def _screens() -> _Screens:
    return _Screens()
