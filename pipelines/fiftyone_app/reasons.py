"""Every reason's score of every sample, as the queue has them now: for FiftyOne, which orders by any of them."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from gradebook.pipelines.curation import queue_items, review_queue
from gradebook.pipelines.runs import Run
from gradebook.storage.fiftyone_reasons import Reason, Reasons
from gradebook.storage.project import ProjectError

if TYPE_CHECKING:
    from gradebook.storage.store import Store


def reasons_now(store: "Store", run: Run | None, *, say: Callable[[str], None] = print) -> Reasons:
    """Returns the reasons of all samples that the queue holds: those without a label, and those whose label it doubts.

    Args:
        store: the project.
        run: whose opinions; without one nothing is known of any sample.
        say: is told what is missing, a line at a time.
    """
    known = {
        name: Reason(sentence, of_labels=name == queue_items.GIVEN)
        for name, sentence in queue_items.sentences().items()
    }
    scores: dict[str, dict[str, float]] = {}
    about_guesses = next(name for name in known if name != queue_items.GIVEN)
    many = max(len(store.catalog.samples()), 1)
    try:
        for reason in (about_guesses, queue_items.GIVEN) if run else ():
            rows = review_queue.rank(store, run, reason=reason, limit=many)
            scores |= {row.sample_id: row.reasons for row in rows}
    except ProjectError as error:
        say(f"No order by every reason: {error}")
    return Reasons(known, scores)
