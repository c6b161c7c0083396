"""The queue from a run's predictions, read from the tables of `gradebook.pipelines.curation.reason_cache`.

Only the column of scores is read whole. Paths are looked up only for the samples that are shown. Loads no torch.

Shape legend    N samples of the table    n candidates
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradebook.pipelines.curation.blind import in_open_audit
from gradebook.pipelines.curation.label_propagation import requested_proposals
from gradebook.pipelines.curation.queue_items import (
    GIVEN,
    Request,
    Row,
    confirmed_verdicts,
    reopened_rows,
    requested_row,
    with_label,
)
from gradebook.pipelines.curation.reason_cache import reasons
from gradebook.pipelines.curation.reason_table import ReasonTable, Scores
from gradebook.pipelines.curation.second_answers import conflict_rows
from gradebook.pipelines.runs import Run
from gradebook.storage.events import Event, class_history
from gradebook.storage.samples import Split

if TYPE_CHECKING:
    from gradebook.storage.store import Store

LOOKAHEAD = 64  # extra samples to look up at first, because some are already decided

Indices = NDArray[np.int64]
Accepts = Callable[[str], bool]  # sample_id -> whether the sample may be shown


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ranking:
    """A table of reasons, with the scores and candidates of one request."""

    store: "Store"
    table: ReasonTable
    scores: Scores  # (N,)
    among: Indices  # (n,) rows to choose from
    labels: Mapping[str, str]  # sample_id -> class name, at present
    request: Request

    def paths(self, ids: Collection[str]) -> dict[str, str]:
        """Returns sample_id -> path of the training samples among these."""
        return self.store.catalog.paths(ids, Split.TRAIN)


def rank_by_run(
    store: "Store", run: Run, events: Sequence[Event], decided: Mapping[str, Event], request: Request
) -> list[Row]:
    """Returns the rows of `gradebook.pipelines.curation.review_queue.rank` that a run gives.

    Args:
        store: the project.
        run: whose predictions to use.
        events: the log.
        decided: the event that decides each sample, from `gradebook.storage.events.decisions`.
        request: the options of the queue.
    """
    if request.reason == GIVEN:
        return _rank_given_labels(store, run, events, decided, request)
    labels = {i: e.label for i, e in decided.items() if e.label is not None}
    first = [] if request.reason else _requested(store, events, decided)
    table = reasons(store, run)
    if not request.reason:
        disputed = conflict_rows(events, class_history(events), partial(store.catalog.samples, Split.TRAIN))
        disputed_ids = {row.sample_id for row in disputed}
        first = [*disputed, *(row for row in first if row.sample_id not in disputed_ids)]
        asked = {row.sample_id for row in first}
        first += [row for row in _reopened(store, events, table, labels) if row.sample_id not in asked]
    audited = in_open_audit(store.project)
    first = [row for row in first if row.sample_id not in audited]
    excluded = decided.keys() | {row.sample_id for row in first} | audited
    first = [row for row in first if request.only is None or request.only.matches(row.label, row.probability)]
    first = first[: request.limit]
    rest = replace(request, limit=request.limit - len(first))
    ranking = _open(store, table, labels, rest)
    batch = _diverse_batch(ranking, excluded) if rest.spread and rest.reason is None else None
    return [*first, *(_highest(ranking, lambda i: i not in excluded) if batch is None else batch)]


def _rank_given_labels(
    store: "Store", run: Run, events: Sequence[Event], decided: Mapping[str, Event], request: Request
) -> list[Row]:
    """Returns the samples whose label is probably wrong, except those whose label a person has confirmed."""
    labels = {i: e.label for i, e in decided.items() if e.label is not None}
    confirmed = confirmed_verdicts(events)
    given = {i: name for i, name in labels.items() if decided[i].event_id not in confirmed}
    if not given:
        return []
    ranking = _open(store, reasons(store, run, given), labels, request)
    return [with_label(row, decided[row.sample_id]) for row in _highest(ranking, lambda i: i in given)]


def _open(store: "Store", table: ReasonTable, labels: Mapping[str, str], request: Request) -> _Ranking:
    scores, only = table.scores(request.reason, labels), request.only
    among = np.arange(len(scores))
    if only is not None:
        among = table.select(only.label, only.min_probability, only.max_probability)
    return _Ranking(store=store, table=table, scores=scores, among=among, labels=labels, request=request)


def _highest(ranking: _Ranking, accepts: Accepts) -> list[Row]:
    """Returns the accepted samples with the highest scores or, with `spread`, a diverse choice of them."""
    from gradebook.mpl.ranking import POOL, spread

    table, limit, diverse = ranking.table, ranking.request.limit, ranking.request.spread
    if limit <= 0:
        return []
    rows, paths, groups = _head(ranking, accepts, POOL * limit if diverse else limit)
    if diverse and len(rows):
        scores, space, classes = ranking.scores[rows].astype(np.float64), table.space(rows), table.predictions(rows)
        rows = rows[spread(scores, limit, space=space, classes=classes, groups=groups)]
    return _describe(ranking, rows[:limit], paths)


def _head(ranking: _Ranking, accepts: Accepts, count: int) -> tuple[Indices, dict[str, str], Indices]:
    """Returns at least `count` samples with the highest scores if there are so many, their paths and groups.

    With `spread`, near-duplicates count as one.
    """
    from gradebook.mpl.ranking import drop_duplicates

    for rows, paths in _heads(ranking, accepts, count + LOOKAHEAD):
        head = rows, paths, ranking.table.groups(rows)
        if len(drop_duplicates(np.arange(len(rows)), head[2] if ranking.request.spread else None)) >= count:
            break
    return head


def _heads(ranking: _Ranking, accepts: Accepts, k: int) -> Iterator[tuple[Indices, dict[str, str]]]:
    """Yields the accepted samples among the `k` highest scores with their paths, then among more, up to all."""
    from gradebook.mpl.ranking import top

    while True:
        rows = ranking.among[top(ranking.scores[ranking.among], k)]
        ids = ranking.table.ids(rows)
        paths = ranking.paths([i for i in ids if accepts(i)])
        yield rows[np.array([i in paths for i in ids], bool)], paths
        if k >= len(ranking.among):
            return
        k *= 4


def _diverse_batch(ranking: _Ranking, excluded: Collection[str]) -> list[Row] | None:
    """Returns a batch that covers the remaining doubt, without the excluded samples; None without a coverage."""
    table, among = ranking.table, ranking.among
    decided = table.indices(excluded)
    decided = decided[decided >= 0]
    while ranking.request.limit > 0 and len(among):
        rows = table.diverse_batch(decided, among, ranking.request.limit)
        if rows is None:
            return None
        ids = table.ids(rows)
        paths = ranking.paths(ids)
        if len(paths) == len(ids):
            return _describe(ranking, rows, paths)
        among = np.setdiff1d(among, rows[[i not in paths for i in ids]])  # their files are gone
    return []


def _describe(ranking: _Ranking, rows: Indices, paths: Mapping[str, str]) -> list[Row]:
    """Returns the queue's rows for rows of the table, in this order."""
    ids, values = ranking.table.ids(rows), ranking.table.rows(rows, ranking.labels)
    return [
        Row(sample_id=i, filepath=paths[i], score=round(float(ranking.scores[row]), 4), **columns)
        for i, row, columns in zip(ids, rows, values, strict=True)
    ]


def _reopened(store: "Store", events: Sequence[Event], table: ReasonTable, labels: Mapping[str, str]) -> list[Row]:
    """Returns the rows of the samples to be labelled again, with the run's prediction where it has one."""
    rows = reopened_rows(events, lambda ids: store.catalog.samples(Split.TRAIN, ids))
    if not rows:
        return []
    indices = table.indices([row.sample_id for row in rows])
    known = dict(zip(table.ids(indices[indices >= 0]), table.rows(indices[indices >= 0], labels), strict=True))
    return [_with_prediction(row, known.get(row.sample_id)) for row in rows]


def _with_prediction(row: Row, columns: Mapping[str, Any] | None) -> Row:
    return row if columns is None else replace(row, **{**columns, "reasons": {**row.reasons, **columns["reasons"]}})


def _requested(store: "Store", events: Sequence[Event], decided: Mapping[str, Event]) -> list[Row]:
    """Returns the rows of the undecided samples that a person sent to the queue."""
    proposals = [e for e in requested_proposals(events) if e.sample_id not in decided]
    samples = {s.sample_id: s for s in store.catalog.samples(Split.TRAIN, [e.sample_id for e in proposals])}
    return [requested_row(samples[e.sample_id], e) for e in proposals if e.sample_id in samples]
