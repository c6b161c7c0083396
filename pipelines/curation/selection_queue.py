"""The queue of a selection: exactly its samples, in their order, those with a label among them. Loads no torch."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from gradebook.pipelines.curation.label_propagation import ASKED
from gradebook.pipelines.curation.queue_items import Row, reason_name, unseen, with_label
from gradebook.pipelines.curation.selections import Selection
from gradebook.pipelines.runs import Run
from gradebook.storage.events import Event, decisions
from gradebook.storage.project import ProjectError
from gradebook.storage.samples import Sample

if TYPE_CHECKING:
    from gradebook.storage.store import Store


def rank(
    store: "Store", run: Run | None, *, selection: Selection, reason: str | None = None, limit: int = 50
) -> list[Row]:
    """Returns the samples of a selection that nobody has decided since they were chosen.

    A sample that was decided by then is among them, its label as `given`: whoever chose it wants to see it.

    Args:
        store: the project.
        run: whose opinions to show, None for none.
        selection: what to look at.
        reason: order by this reason instead of the selection's own order.
        limit: rows at most.

    Raises:
        ProjectError: a sample is not in the catalogue, or the run has not finished.
    """
    decided = decisions(store.log.read())
    left = [i for i in selection.sample_ids if i not in decided or decided[i].at <= selection.at]
    if reason is None:
        return _rows(store, run, left[:limit], decided)
    rows = _rows(store, run, left, decided)
    return sorted(rows, key=lambda row: -row.reasons.get(reason_name(reason), -1.0))[:limit]


def _rows(store: "Store", run: Run | None, ids: Sequence[str], decided: Mapping[str, Event]) -> list[Row]:
    """Returns a row for each of the samples, in the order given."""
    samples = {sample.sample_id: sample for sample in store.catalog.get(ids)}
    rows = {i: unseen(sample) for i, sample in samples.items()}
    if run is not None and ids:
        rows |= {row.sample_id: row for row in _seen(store, run, samples, decided)}
    before = {i: with_label(rows[i], decided[i]) for i in rows if i in decided}
    return [_asked(row) for row in (rows | before).values()]


def _seen(store: "Store", run: Run, samples: Mapping[str, Sample], decided: Mapping[str, Event]) -> list[Row]:
    """Returns the rows of those samples of which the run has an opinion, their reasons as they are in the queue."""
    from gradebook.pipelines.curation.reason_cache import reasons

    labels = {i: e.label for i, e in decided.items() if e.label is not None}
    tables = [(reasons(store, run), [i for i in samples if i not in labels])]
    if any(i in labels for i in samples):
        with suppress(ProjectError):  # without vectors nothing can doubt a label: these samples come without a guess
            tables.append((reasons(store, run, labels), [i for i in samples if i in labels]))
    rows = []
    for table, some in tables:
        places = table.places(some)
        places = places[places >= 0]
        score = table.scores(None, labels)
        rows += [
            Row(sample_id=i, filepath=samples[i].filepath, score=round(float(score[k]), 4), **columns)
            for i, k, columns in zip(table.ids(places), places.tolist(), table.rows(places, labels), strict=True)
        ]
    return rows


def _asked(row: Row) -> Row:
    return replace(row, reasons={ASKED[0]: 1.0, **row.reasons})
