"""The queue from a run's predictions, read from the tables of `gradebook.pipelines.curation.reason_cache`.

Of a table only the column of scores is read whole; samples are looked up for as many as are shown. Loads no torch.

Shape legend    N samples of the table    n of them
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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

FIRST = 64  # samples beyond those asked for that are looked up to begin with: some are decided

Indices = NDArray[np.int64]
Wanted = Callable[[str], bool]  # sample_id -> whether it may be shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked of the queue."""

    reason: str | None  # to order by; None for the default order
    limit: int  # rows at most
    spread: bool  # leave out near-duplicates and cover what is in doubt, or with a reason classes and clusters
    only: Only | None  # which predictions to show


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ranking:
    """A table of reasons, with what a request needs of it."""

    store: "Store"
    table: Reasons
    scores: Scores  # (N,)
    among: Indices  # (n,) rows to choose from
    labels: Mapping[str, str]  # sample_id -> class name, as they are now
    request: Request

    def paths(self, ids: Collection[str]) -> dict[str, str]:
        """Returns the paths of those that are samples to train on."""
        return self.store.catalog.paths(ids, Split.TRAIN)


def rank_by_run(
    store: "Store", run: Run, events: Sequence[Event], decided: Mapping[str, Event], request: Request
) -> list[Row]:
    """Returns the rows of `gradebook.pipelines.curation.review_queue.rank` that a run gives.

    Args:
        store: the project.
        run: whose predictions to use.
        events: the log.
        decided: what decides each sample, as `gradebook.storage.events.decisions` returns it.
        request: what is asked for.
    """
    if request.reason == GIVEN:
        return _doubted_labels(store, run, events, decided, request)
    labels = {i: e.label for i, e in decided.items() if e.label is not None}
    first = [] if request.reason else _asked(store, events, decided)
    out = decided.keys() | {row.sample_id for row in first}
    first = [row for row in first if request.only is None or request.only.takes(row.label, row.probability)]
    first = first[: request.limit]
    rest = replace(request, limit=request.limit - len(first))
    ranking = _open(store, reasons(store, run), labels, rest)
    batch = _covering(ranking, out) if rest.spread and rest.reason is None else None
    return [*first, *(_highest(ranking, lambda i: i not in out) if batch is None else batch)]


def _doubted_labels(
    store: "Store", run: Run, events: Sequence[Event], decided: Mapping[str, Event], request: Request
) -> list[Row]:
    """Returns the samples whose given label is probably wrong, without those whose label somebody has confirmed."""
    labels = {i: e.label for i, e in decided.items() if e.label is not None}
    confirmed = settled(events)
    given = {i: name for i, name in labels.items() if decided[i].event_id not in confirmed}
    if not given:
        return []
    ranking = _open(store, reasons(store, run, given), labels, request)
    return [with_label(row, decided[row.sample_id]) for row in _highest(ranking, lambda i: i in given)]


def _open(store: "Store", table: Reasons, labels: Mapping[str, str], request: Request) -> _Ranking:
    scores, only = table.scores(request.reason, labels), request.only
    among = np.arange(len(scores)) if only is None else table.those(only.label, only.least, only.most)
    return _Ranking(store=store, table=table, scores=scores, among=among, labels=labels, request=request)


def _highest(ranking: _Ranking, wanted: Wanted) -> list[Row]:
    """Returns the wanted samples by their score or, where they are to be spread, a choice of the highest ones."""
    from gradebook.mpl.ranking import POOL, spread

    table, limit, spreads = ranking.table, ranking.request.limit, ranking.request.spread
    if limit <= 0:
        return []
    rows, paths, groups = _head(ranking, wanted, POOL * limit if spreads else limit)
    if spreads and len(rows):
        scores, space, classes = ranking.scores[rows].astype(np.float64), table.space(rows), table.guesses(rows)
        rows = rows[spread(scores, limit, space=space, classes=classes, groups=groups)]
    return _describe(ranking, rows[:limit], paths)


def _head(ranking: _Ranking, wanted: Wanted, enough: int) -> tuple[Indices, dict[str, str], Indices]:
    """Returns the highest samples, their paths and groups: `enough` of them if there are so many.

    Of those that are to be spread, near-duplicates count as one.
    """
    from gradebook.mpl.ranking import one_of_each

    for rows, paths in _heads(ranking, wanted, enough + FIRST):
        head = rows, paths, ranking.table.groups(rows)
        if len(one_of_each(np.arange(len(rows)), head[2] if ranking.request.spread else None)) >= enough:
            break
    return head


def _heads(ranking: _Ranking, wanted: Wanted, k: int) -> Iterator[tuple[Indices, dict[str, str]]]:
    """Yields the wanted ones of the `k` samples with the highest scores and their paths, then of more, up to all."""
    from gradebook.mpl.ranking import top

    while True:
        rows = ranking.among[top(ranking.scores[ranking.among], k)]
        ids = ranking.table.ids(rows)
        paths = ranking.paths([i for i in ids if wanted(i)])
        yield rows[np.array([i in paths for i in ids], bool)], paths
        if k >= len(ranking.among):
            return
        k *= 4


def _covering(ranking: _Ranking, out: Collection[str]) -> list[Row] | None:
    """Returns a batch that covers what is in doubt, without the samples in `out`; None where the table cannot tell."""
    table, among = ranking.table, ranking.among
    seen = table.places(out)
    seen = seen[seen >= 0]
    while ranking.request.limit > 0 and len(among):
        rows = table.covering(seen, among, ranking.request.limit)
        if rows is None:
            return None
        ids = table.ids(rows)
        paths = ranking.paths(ids)
        if len(paths) == len(ids):
            return _describe(ranking, rows, paths)
        among = np.setdiff1d(among, rows[[i not in paths for i in ids]])  # no file holds them any more
    return []


def _describe(ranking: _Ranking, rows: Indices, paths: Mapping[str, str]) -> list[Row]:
    """Returns the queue's rows for rows of the table, in this order."""
    ids, facts = ranking.table.ids(rows), ranking.table.rows(rows, ranking.labels)
    return [
        Row(sample_id=i, filepath=paths[i], score=round(float(ranking.scores[row]), 4), **columns)
        for i, row, columns in zip(ids, rows, facts, strict=True)
    ]


def _asked(store: "Store", events: Sequence[Event], decided: Mapping[str, Event]) -> list[Row]:
    """Returns the rows of the samples that somebody asked to look at and nobody has decided."""
    proposals = [e for e in asked_for(events) if e.sample_id not in decided]
    samples = {s.sample_id: s for s in store.catalog.samples(Split.TRAIN, [e.sample_id for e in proposals])}
    return [asked(samples[e.sample_id], e) for e in proposals if e.sample_id in samples]
