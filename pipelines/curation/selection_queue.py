"""The queue of a selection: its samples in the selection's order, labelled ones included. Loads no torch."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from gradebook.pipelines.curation.blind import hidden
from gradebook.pipelines.curation.label_propagation import ASKED
from gradebook.pipelines.curation.queue_items import (
    CLASS_CHANGED,
    Row,
    empty_row,
    reason_name,
    reopened_samples,
    with_label,
    with_quality,
)
from gradebook.pipelines.curation.second_answers import ASKED_AGAIN, conflict_rows
from gradebook.pipelines.curation.selections import Selection
from gradebook.pipelines.runs import Run
from gradebook.storage.events import Event, class_history, conflicts, decisions
from gradebook.storage.project import ProjectError
from gradebook.storage.samples import Sample

if TYPE_CHECKING:
    from gradebook.storage.store import Store


def rank(
    store: "Store", run: Run | None, *, selection: Selection, reason: str | None = None, limit: int = 50
) -> list[Row]:
    """Returns the samples of a selection that have not been decided since it was made.

    Samples that were labelled before are included, with their label as `given`. Those that are to be labelled blindly
    (`gradebook.pipelines.curation.blind`) have no prediction, and those that wait for a further answer
    (`gradebook.pipelines.curation.second_answers`) no `given` either.

    Args:
        store: the project.
        run: whose predictions to show, None for none.
        selection: the samples to review.
        reason: order by this reason instead of the selection's order.
        limit: maximum number of rows.

    Raises:
        ProjectError: a sample is not in the catalogue, or the run has not finished.
    """
    events = store.log.read()
    decided, disputed = decisions(events), conflicts(events)
    last = decided | {i: answers.newest for i, answers in disputed.items()}
    left = [i for i in selection.sample_ids if i not in last or last[i].at <= selection.at]
    if selection.why == ASKED_AGAIN:
        return _rows_to_answer(store, left[:limit], last)
    known = _rows(store, run, left if reason else left[:limit], decided, reopened_samples(events))
    settling = {row.sample_id: row for row in conflict_rows(events, class_history(events), store.catalog.get)}
    rows = with_quality([settling.get(row.sample_id, row) for row in known], store.quality.read())
    if reason is None:
        return rows
    return sorted(rows, key=lambda row: -row.reasons.get(reason_name(reason), -1.0))[:limit]


def _rows_to_answer(store: "Store", ids: Sequence[str], last: Mapping[str, Event]) -> list[Row]:
    """Returns rows that show neither a prediction nor the answers that there are."""
    rows = [replace(empty_row(sample), blind=True, independent=True) for sample in store.catalog.get(ids)]
    return [replace(row, decision=last[row.sample_id].event_id if row.sample_id in last else None) for row in rows]


def _rows(
    store: "Store", run: Run | None, ids: Sequence[str], decided: Mapping[str, Event], reopened: Collection[str]
) -> list[Row]:
    """Returns a row for each of the samples, in the order given."""
    samples = {sample.sample_id: sample for sample in store.catalog.get(ids)}
    blind = hidden(store.project, samples.values())
    rows = {i: replace(empty_row(sample), blind=i in blind) for i, sample in samples.items()}
    shown = {i: sample for i, sample in samples.items() if i not in blind}
    if run is not None and shown:
        rows |= {row.sample_id: row for row in predicted_rows(store, run, shown, decided)}
    labelled = {i: with_label(rows[i], decided[i]) for i in rows if i in decided}
    return [row if row.blind else _mark_requested(row, reopened) for row in (rows | labelled).values()]


def predicted_rows(store: "Store", run: Run, samples: Mapping[str, Sample], decided: Mapping[str, Event]) -> list[Row]:
    """Returns the rows of the samples for which the run has a prediction, with the same reasons as in the queue."""
    from gradebook.pipelines.curation.reason_cache import reasons

    labels = {i: e.label for i, e in decided.items() if e.label is not None}
    tables = [(reasons(store, run), [i for i in samples if i not in labels])]
    if any(i in labels for i in samples):
        with suppress(ProjectError):  # without embeddings labels cannot be judged: these rows have no prediction
            tables.append((reasons(store, run, labels), [i for i in samples if i in labels]))
    rows = []
    for table, ids in tables:
        indices = table.indices(ids)
        indices = indices[indices >= 0]
        score = table.scores(None, labels)
        rows += [
            Row(sample_id=i, filepath=samples[i].filepath, score=round(float(score[k]), 4), **columns)
            for i, k, columns in zip(table.ids(indices), indices.tolist(), table.rows(indices, labels), strict=True)
        ]
    return rows


def _mark_requested(row: Row, reopened: Collection[str]) -> Row:
    reason, _ = CLASS_CHANGED if row.sample_id in reopened else ASKED
    return replace(row, reasons={reason: 1.0, **row.reasons})
