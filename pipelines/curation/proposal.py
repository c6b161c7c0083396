"""What the queue proposes for one sample, so that whoever looks at it elsewhere accepts the same."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from gradebook.pipelines.curation import reason_cache
from gradebook.pipelines.curation.label_propagation import asked_for
from gradebook.pipelines.curation.queue_items import Row, asked, unseen, with_label
from gradebook.pipelines.curation.reason_table import Reasons
from gradebook.pipelines.runs import PREDICTIONS, Run
from gradebook.storage.events import Event
from gradebook.storage.samples import Sample

if TYPE_CHECKING:
    from gradebook.storage.store import Store


def guess(
    store: "Store", run: Run | None, sample: Sample, events: Sequence[Event], decided: Mapping[str, Event]
) -> Row:
    """Returns a sample as the queue of a run has it: what somebody proposed, else the finished student's prediction.

    A sample with a label has the feature classifier's prediction where the queue has doubted it already, else none.

    Args:
        store: the project.
        run: whose opinions; there is no guess without one, or before it has finished.
        sample: which.
        events: the log.
        decided: what it comes to, as `gradebook.storage.events.decisions` says.
    """
    decision = decided.get(sample.sample_id)
    if decision is None:
        wanted = next((e for e in asked_for(events) if e.sample_id == sample.sample_id), None)
        if wanted is not None:
            return asked(sample, wanted)
    if run is None or not (run.path / PREDICTIONS).exists():
        return unseen(sample) if decision is None else with_label(unseen(sample), decision)
    labels = {i: e.label for i, e in decided.items() if e.label is not None}
    if decision is None:
        return _row(reason_cache.reasons(store, run), sample, labels)
    cached = reason_cache.read_table(run.path / reason_cache.GIVEN, reason_cache.fingerprint(store, run))
    doubted = cached is not None and cached.labels().get(sample.sample_id) == decision.label is not None
    return with_label(_row(cached, sample, labels) if cached is not None and doubted else unseen(sample), decision)


def _row(table: Reasons, sample: Sample, labels: Mapping[str, str]) -> Row:
    places = table.places([sample.sample_id])
    if places[0] < 0:
        return unseen(sample)
    (columns,) = table.rows(places, labels)
    return Row(sample_id=sample.sample_id, filepath=sample.filepath, score=0.0, **columns)
