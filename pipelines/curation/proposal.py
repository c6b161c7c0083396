"""The queue's proposal for one sample, so that other pages and FiftyOne show and accept the same label as the queue."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from gradebook.pipelines.curation import reason_cache
from gradebook.pipelines.curation.blind import hidden
from gradebook.pipelines.curation.label_propagation import requested_proposals
from gradebook.pipelines.curation.queue_items import Row, empty_row, requested_row, with_label
from gradebook.pipelines.curation.reason_table import ReasonTable
from gradebook.pipelines.runs import PREDICTIONS, Run
from gradebook.storage.events import Event
from gradebook.storage.samples import Sample

if TYPE_CHECKING:
    from gradebook.storage.store import Store


def guess(
    store: "Store", run: Run | None, sample: Sample, events: Sequence[Event], decided: Mapping[str, Event]
) -> Row:
    """Returns the row of a sample as in the queue: an open proposal, or else the finished student's prediction.

    A sample that is to be labelled blindly (`gradebook.pipelines.curation.blind`) has none. A labelled sample has the
    feature classifier's prediction if the queue has already judged its label, else none.

    Args:
        store: the project.
        run: whose predictions; None, or a run that has not finished, for none.
        sample: the sample.
        events: the log.
        decided: the event that decides each sample, from `gradebook.storage.events.decisions`.
    """
    decision = decided.get(sample.sample_id)
    if hidden(store.project, [sample]):
        row = replace(empty_row(sample), blind=True)
        return row if decision is None else with_label(row, decision)
    if decision is None:
        proposal = next((e for e in requested_proposals(events) if e.sample_id == sample.sample_id), None)
        if proposal is not None:
            return requested_row(sample, proposal)
    if run is None or not (run.results / PREDICTIONS).exists():
        return empty_row(sample) if decision is None else with_label(empty_row(sample), decision)
    labels = {i: e.label for i, e in decided.items() if e.label is not None}
    if decision is None:
        return _row(reason_cache.reasons(store, run), sample, labels)
    cached = reason_cache.read_table(run.results / reason_cache.GIVEN, reason_cache.fingerprint(store, run))
    judged = cached is not None and cached.labels().get(sample.sample_id) == decision.label is not None
    return with_label(_row(cached, sample, labels) if cached is not None and judged else empty_row(sample), decision)


def _row(table: ReasonTable, sample: Sample, labels: Mapping[str, str]) -> Row:
    indices = table.indices([sample.sample_id])
    if indices[0] < 0:
        return empty_row(sample)
    (columns,) = table.rows(indices, labels)
    return Row(sample_id=sample.sample_id, filepath=sample.filepath, score=0.0, **columns)
