"""The score of each sample for each reason, as the queue has them now, so that FiftyOne can sort by any of them."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from gradebook.pipelines.curation import queue_items, review_queue
from gradebook.pipelines.curation.label_propagation import requested_proposals
from gradebook.pipelines.runs import Run
from gradebook.storage.fiftyone_reasons import Reason, Reasons
from gradebook.storage.project import ProjectError

if TYPE_CHECKING:
    from gradebook.storage.store import Store


def current_reasons(store: "Store", run: Run | None, *, say: Callable[[str], None] = print) -> Reasons:
    """Returns reasons and proposals of all samples in the queue: the unlabelled ones, and those with doubted labels.

    Args:
        store: the project.
        run: whose predictions; None for no reasons at all.
        say: called with a sentence if the reasons cannot be computed.
    """
    tables = {
        name: Reason(sentence, of_labels=name == queue_items.GIVEN)
        for name, sentence in (queue_items.sentences() | queue_items.QUALITY).items()
    }
    scores, predicted = dict[str, dict[str, float]](), dict[str, queue_items.Row]()
    about_guesses = next(name for name in tables if name != queue_items.GIVEN)
    many = max(len(store.catalog.samples()), 1)
    try:
        for reason in (about_guesses, queue_items.GIVEN) if run else ():
            rows = review_queue.rank(store, run, reason=reason, limit=many)
            scores |= {row.sample_id: row.reasons for row in rows}
            predicted |= {row.sample_id: row for row in rows}
    except ProjectError as error:
        say(f"FiftyOne cannot sort by reasons: {error}")
    scores |= {i: {**scores.get(i, {}), **flags} for i, flags in store.quality.read().items()}
    proposed = {i: (row.label, row.probability) for i, row in predicted.items() if row.label is not None}
    asked = {e.sample_id: e for e in requested_proposals(store.log.read()) if e.label is not None}
    proposed |= {i: (str(e.label), e.confidence) for i, e in asked.items()}
    return Reasons(tables, scores, proposed)
