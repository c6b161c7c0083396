"""The queue from a run's opinions, read from the tables that keep its reasons
(`gradebook.pipelines.curation.reason_cache`).

Only scores are read whole; samples are looked up for as many as are shown. Loads no torch.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gradebook.pipelines.curation.label_propagation import asked_for
from gradebook.pipelines.curation.queue_items import GIVEN, Only, Row, asked, settled, with_label
from gradebook.pipelines.curation.reason_cache import reasons
from gradebook.pipelines.curation.reason_table import Reasons, Scores
from gradebook.pipelines.runs import Run
from gradebook.storage.events import Event
from gradebook.storage.samples import Split

if TYPE_CHECKING:
    from gradebook.storage.store import Store

FIRST = 64  # samples more than are asked for that are looked at to begin with: some are decided

Lookup = Callable[[Collection[str]], dict[str, str]]  # ids -> the paths of those that are samples to train on


def ordered(
    store: "Store",
    run: Run,
    events: Sequence[Event],
    decided: Mapping[str, Event],
    *,
    reason: str | None,
    limit: int,
    spread: bool,
    only: Only | None,
) -> list[Row]:
    """Returns the rows of `gradebook.pipelines.curation.review_queue.rank` from a run: strictly by score, or with
    `spread` a batch.

    Args:
        store: the project.
        run: whose opinions to use.
        events: the log.
        decided: what it comes to, as `gradebook.storage.events.decisions` says.
        reason: what to order by; None for the default order.
        limit: rows at most.
        spread: leave out near-duplicates and cover what is in doubt, or with a reason classes and clusters.
        only: which guesses to look at.
    """
    labels = {i: e.label for i, e in decided.items() if e.label is not None}

    def lookup(ids: Collection[str]) -> dict[str, str]:
        return store.catalog.paths(ids, Split.TRAIN)

    if reason == GIVEN:
        done = settled(events)
        given = {i: name for i, name in labels.items() if decided[i].event_id not in done}
        if not given:
            return []
        kept = reasons(store, run, given)
        rows = _rows(kept, kept.scores(GIVEN, labels), given.keys(), labels, lookup, limit, spread, only)
        return [with_label(row, decided[row.sample_id]) for row in rows]
    first = [] if reason else _asked(store, events, decided)
    out = decided.keys() | {row.sample_id for row in first}
    first = [row for row in first if only is None or only.takes(row.label, row.probability)][:limit]
    kept, left = reasons(store, run), limit - len(first)
    scores = kept.scores(reason, labels)
    batch = _covering(kept, scores, out, labels, lookup, left, only) if spread and reason is None else None
    if batch is None:
        batch = _rows(kept, scores, _Others(out), labels, lookup, left, spread, only)
    return [*first, *batch]


class _Others:
    """All but some."""

    def __init__(self, some: Collection[str]):
        self._some = some

    def __contains__(self, sample_id: object) -> bool:
        return sample_id not in self._some


def _rows(
    kept: Reasons,
    scores: Scores,
    wanted: "Collection[str] | _Others",
    labels: Mapping[str, str],
    lookup: Lookup,
    limit: int,
    spread: bool,
    only: Only | None,
) -> list[Row]:
    from gradebook.mpl.ranking import POOL, one_of_each
    from gradebook.mpl.ranking import spread as spread_out

    there = np.arange(len(scores)) if only is None else kept.those(only.label, only.least, only.most)
    enough = POOL * limit if spread else limit
    k = enough + FIRST
    while limit > 0:
        places, paths = _best(kept, scores, there, k, wanted, lookup)
        groups = kept.groups(places)
        if len(one_of_each(np.arange(len(places)), groups if spread else None)) >= enough or k >= len(there):
            break
        k *= 4
    else:
        return []
    if spread and len(places):
        chosen = spread_out(
            scores[places].astype(np.float64),
            limit,
            space=kept.space(places),
            classes=kept.guesses(places),
            groups=groups,
        )
        places = places[chosen]
    return _described(kept, places[:limit], paths, scores, labels)


def _covering(
    kept: Reasons,
    scores: Scores,
    out: Collection[str],
    labels: Mapping[str, str],
    lookup: Lookup,
    limit: int,
    only: Only | None,
) -> list[Row] | None:
    """Returns a batch that covers what is in doubt, None where the table cannot tell."""
    seen = kept.places(out)
    seen = seen[seen >= 0]
    there = np.arange(len(scores)) if only is None else kept.those(only.label, only.least, only.most)
    while limit > 0 and len(there):
        places = kept.covering(seen, there, limit)
        if places is None:
            return None
        ids = kept.ids(places)
        paths = lookup(ids)
        if len(paths) == len(ids):
            return _described(kept, places, paths, scores, labels)
        there = np.setdiff1d(there, places[[i not in paths for i in ids]])  # no file holds them any more
    return []


def _described(
    kept: Reasons,
    places: NDArray[np.int64],
    paths: Mapping[str, str],
    scores: Scores,
    labels: Mapping[str, str],
) -> list[Row]:
    """Returns the rows of the samples at some places, in this order."""
    return [
        Row(sample_id=i, filepath=paths[i], score=round(float(scores[place]), 4), **said)
        for i, place, said in zip(kept.ids(places), places, kept.rows(places, labels), strict=True)
    ]


def _best(
    kept: Reasons,
    scores: Scores,
    there: NDArray[np.int64],
    k: int,
    wanted: "Collection[str] | _Others",
    lookup: Lookup,
) -> tuple[NDArray[np.int64], dict[str, str]]:
    """Returns those of the `k` places with the highest scores that are wanted, first ones first, and their paths."""
    from gradebook.mpl.ranking import top

    places = there[top(scores[there], k)]
    ids = kept.ids(places)
    paths = lookup([i for i in ids if i in wanted])
    return places[np.array([i in paths for i in ids], bool)], paths


def _asked(store: "Store", events: Sequence[Event], decided: Mapping[str, Event]) -> list[Row]:
    """Returns the rows of the samples that somebody asked to look at and nobody has decided."""
    proposals = [e for e in asked_for(events) if e.sample_id not in decided]
    samples = {s.sample_id: s for s in store.catalog.samples(Split.TRAIN, [e.sample_id for e in proposals])}
    return [asked(samples[e.sample_id], e) for e in proposals if e.sample_id in samples]
