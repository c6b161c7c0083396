"""The queue: which samples to look at next, and why, from what a run has left behind. Loads no torch."""

from typing import TYPE_CHECKING

from gradebook.pipelines.curation.label_propagation import asked_for
from gradebook.pipelines.curation.queue_items import GIVEN, Only, Row, asked, reason_name, sentences, unseen
from gradebook.pipelines.runs import Run
from gradebook.storage.events import decisions
from gradebook.storage.project import ProjectError
from gradebook.storage.samples import Split

if TYPE_CHECKING:
    from gradebook.storage.store import Store


def rank(
    store: "Store",
    run: Run | None,
    *,
    reason: str | None = None,
    limit: int = 50,
    spread: bool = False,
    only: Only | None = None,
) -> list[Row]:
    """Returns the samples to look at, first ones first; those that somebody decided are left out.

    Samples that somebody asked for (`gradebook.pipelines.curation.label_propagation`) come before all others, unless
    one reason is named.

    Args:
        store: the project.
        run: whose opinions to use; without one the samples come without a guess: spread, first those that stand for
            most of the others (`gradebook.pipelines.curation.cold_start`), else in order of import.
        reason: the one reason to order by, instead of the default blend. `mislabelled` gives samples that have a label,
            without those whose label somebody has confirmed or changed when asked about it.
        limit: rows at most.
        spread: leave out near-duplicates and cover what is in doubt (`gradebook.pipelines.curation.batch_coverage`), or
            with one reason classes and clusters (`gradebook.mpl.ranking.spread`), instead of going strictly by score.
        only: which guesses to look at; all samples without it.

    Raises:
        ProjectError: there is no such reason, the run has not finished, or given labels cannot be judged.
    """
    reason = reason and reason_name(reason)
    _check(reason, limit)
    events = store.log.read()
    decided = decisions(events)
    if run is not None:
        from gradebook.pipelines.curation.ranked_queue import Request, rank_by_run

        request = Request(reason=reason, limit=limit, spread=spread, only=only)
        return rank_by_run(store, run, events, decided, request)
    if reason == GIVEN:
        raise ProjectError(f"no run has finished, so nothing can doubt a label: gradebook train {store.project.root}")
    train = {s.sample_id: s for s in store.catalog.samples(Split.TRAIN)}
    waiting = {i: s for i, s in train.items() if i not in decided}
    first = [] if reason else [asked(waiting[e.sample_id], e) for e in asked_for(events) if e.sample_id in waiting]
    rest = [i for i in waiting if i not in {row.sample_id for row in first}]
    first = [row for row in first if only is None or only.takes(row.label, row.probability)]
    if only is not None:
        return first[:limit]
    seen = [i for i in train if i in decided]
    return [*first, *(unseen(waiting[i]) for i in _to_begin(store, rest, seen, limit, spread))][:limit]


def _to_begin(store: "Store", waiting: list[str], seen: list[str], limit: int, spread: bool) -> list[str]:
    """Returns what to look at while there is no run."""
    if not spread:
        return waiting
    from gradebook.pipelines.curation.cold_start import first_to_label

    return first_to_label(store, waiting, seen, limit)


def _check(reason: str | None, limit: int) -> None:
    known = sentences()
    if reason is not None and reason not in known:
        raise ProjectError(f"there is no reason {reason!r}: choose one of {', '.join(known)}")
    if limit < 1:
        raise ProjectError(f"limit={limit} must be at least 1")
