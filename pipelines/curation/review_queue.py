"""The review queue: which samples to review next, and why. Loads no torch."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from gradebook.pipelines.curation.blind import in_open_audit
from gradebook.pipelines.curation.label_propagation import requested_proposals
from gradebook.pipelines.curation.queue_items import (
    CONFLICT,
    GIVEN,
    QUALITY,
    PredictionFilter,
    Request,
    Row,
    empty_row,
    reason_name,
    reopened_rows,
    requested_row,
    sentences,
    with_quality,
)
from gradebook.pipelines.curation.second_answers import conflict_rows
from gradebook.pipelines.runs import Run
from gradebook.storage.events import Event, class_history, decisions
from gradebook.storage.project import ProjectError
from gradebook.storage.samples import Sample, Split

if TYPE_CHECKING:
    from gradebook.storage.store import Store


def rank(
    store: "Store",
    run: Run | None,
    *,
    reason: str | None = None,
    limit: int = 50,
    spread: bool = False,
    only: PredictionFilter | None = None,
) -> list[Row]:
    """Returns the undecided samples in the order in which to review them.

    Samples that an open audit has drawn are left out: they have a queue of their own, without predictions. Samples that
    a person sent to the queue (`gradebook.pipelines.curation.label_propagation`) come first, unless `reason` is given.

    Args:
        store: the project.
        run: whose predictions to use. With None, samples have no prediction and come in order of import or, with
            `spread`, the most representative ones first (`gradebook.pipelines.curation.cold_start`).
        reason: the reason to order by, instead of the default order. `mislabelled` gives labelled samples, except those
            whose label a person has already confirmed or changed from this queue. `reviewers_disagree` gives the
            images whose answers differ, which also come first in the default order. A quality problem, such as `dark`,
            gives the images that have it.
        limit: maximum number of rows.
        spread: choose a diverse batch without near-duplicates instead of the highest scores. It covers the remaining
            doubt (`gradebook.pipelines.curation.batch_coverage`) or, with `reason`, classes and clusters
            (`gradebook.mpl.ranking.spread`).
        only: which predictions to show; None for all samples.

    Raises:
        ProjectError: there is no such reason, the run has not finished, or labels cannot be judged without embeddings.
    """
    reason = reason and reason_name(reason)
    _check(reason, limit)
    request = Request(reason=reason, limit=limit, spread=spread, only=only)
    rows = _by_quality(store, run, request) if reason in QUALITY else _ranked(store, run, request)
    return with_quality(rows, store.quality.read())


def _ranked(store: "Store", run: Run | None, request: Request) -> list[Row]:
    events = store.log.read()
    decided = decisions(events)
    if request.reason == CONFLICT[0]:
        return _conflicts(store, events)[: request.limit]
    if run is not None:
        from gradebook.pipelines.curation.ranked_queue import rank_by_run

        return rank_by_run(store, run, events, decided, request)
    if request.reason == GIVEN:
        raise ProjectError(
            f"checking given labels needs a finished run, and there is none: gradebook train {store.project.root}"
        )
    return _rank_without_run(store, events, decided, request)


def _rank_without_run(
    store: "Store", events: Sequence[Event], decided: Mapping[str, Event], request: Request
) -> list[Row]:
    """Returns the rows of `rank` while there is no run."""
    train = {s.sample_id: s for s in store.catalog.samples(Split.TRAIN)}
    audited = in_open_audit(store.project)
    waiting = {i: s for i, s in train.items() if i not in decided and i not in audited}
    first = [] if request.reason else _first_rows(store, events, waiting)
    if request.only is not None:
        return [row for row in first if request.only.matches(row.label, row.probability)][: request.limit]
    rest = [i for i in waiting if i not in {row.sample_id for row in first}]
    if request.spread:
        from gradebook.pipelines.curation.cold_start import first_to_label

        rest = first_to_label(store, rest, [i for i in train if i in decided], request.limit)
    return [*first, *(empty_row(waiting[i]) for i in rest)][: request.limit]


def _first_rows(store: "Store", events: Sequence[Event], waiting: Mapping[str, Sample]) -> list[Row]:
    """Returns the samples on which reviewers disagree, then those sent to the queue, then those to label again."""
    rows = chain(
        _conflicts(store, events, waiting),
        (requested_row(waiting[e.sample_id], e) for e in requested_proposals(events) if e.sample_id in waiting),
        reopened_rows(events, lambda ids: [waiting[i] for i in ids if i in waiting]),
    )
    by_sample: dict[str, Row] = {}
    for row in rows:
        by_sample.setdefault(row.sample_id, row)
    return list(by_sample.values())


def _by_quality(store: "Store", run: Run | None, request: Request) -> list[Row]:
    """Returns the undecided images with a quality problem, the worst first."""
    from gradebook.pipelines.curation.selection_queue import predicted_rows

    problem, decided = str(request.reason), decisions(store.log.read())
    scores = {i: flags[problem] for i, flags in store.quality.read().items() if problem in flags}
    samples = {s.sample_id: s for s in store.catalog.samples(Split.TRAIN, list(scores)) if s.sample_id not in decided}
    worst = sorted(samples, key=lambda i: -scores[i])
    predicted = {} if run is None else {r.sample_id: r for r in predicted_rows(store, run, samples, decided)}
    audited = in_open_audit(store.project)
    rows = [replace(predicted.get(i) or empty_row(samples[i]), score=scores[i]) for i in worst if i not in audited]
    only = request.only
    return [row for row in rows if only is None or only.matches(row.label, row.probability)][: request.limit]


def _conflicts(store: "Store", events: Sequence[Event], among: Container[str] | None = None) -> list[Row]:
    rows = conflict_rows(events, class_history(events), store.catalog.get)
    return rows if among is None else [row for row in rows if row.sample_id in among]


def _check(reason: str | None, limit: int) -> None:
    reasons = [*sentences(), CONFLICT[0], *QUALITY]
    if reason is not None and reason not in reasons:
        raise ProjectError(f"there is no reason {reason!r}: choose one of {', '.join(reasons)}")
    if limit < 1:
        raise ProjectError(f"limit={limit} must be at least 1")
