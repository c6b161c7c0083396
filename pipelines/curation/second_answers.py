"""Several reviewers for each image: who is still to answer which image, and the images whose answers differ.

With `answers` of the project above 1, every image that a person has labelled is offered to further reviewers, without
the earlier answers and without a prediction. Answers that agree are the image's label. An image whose answers differ
has no label, as if it had none yet, until somebody settles it with any ordinary verdict.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from gradebook.pipelines.curation.audit_files import ACTOR
from gradebook.pipelines.curation.queue_items import CONFLICT, Row, empty_row
from gradebook.storage.class_history import ClassHistory
from gradebook.storage.events import Event, answers, conflicts, with_present_name
from gradebook.storage.samples import Sample

ASKED_AGAIN = "for a further answer; earlier answers and predictions are not shown"  # of a selection


def to_answer(events: Iterable[Event], actor: str, wanted: int) -> list[str]:
    """Returns the samples to which this person is to give a further answer, in the order of the first answers.

    Args:
        events: the log.
        actor: the person's name.
        wanted: answers for each image.
    """
    if wanted < 2:
        return []
    return [
        sample_id
        for sample_id, group in answers(events).items()
        if group.settled is None and len(group.of) < wanted and actor not in group.of and not _is_accepted(group.of)
    ]


def conflict_rows(
    events: Sequence[Event], history: ClassHistory, samples: Callable[[list[str]], Iterable[Sample]]
) -> list[Row]:
    """Returns a row without a prediction for each image whose answers differ, in the order of the first answers.

    Args:
        events: the log.
        history: of its classes.
        samples: returns the samples with these ids.
    """
    groups = conflicts(events, history)
    by_id = {sample.sample_id: sample for sample in samples(list(groups))} if groups else {}
    return [
        replace(
            empty_row(by_id[i]),
            reasons={CONFLICT[0]: 1.0},
            score=1.0,
            decision=group.newest.event_id,
            answers={actor: e.label for actor, e in group.of.items()},
        )
        for i, group in groups.items()
        if i in by_id
    ]


def given_answers(events: Sequence[Event], history: ClassHistory) -> list[Mapping[str, str | None]]:
    """Returns the answers about each image that has two or more, settled or not: actor -> class, None if rejected.

    An answer whose class was removed or split is left out.
    """
    groups = answers(events).values()
    named = [{actor: with_present_name(e, history) for actor, e in group.of.items()} for group in groups]
    present = [{actor: e.label for actor, e in group.items() if e is not None} for group in named]
    return [group for group in present if len(group) > 1]


def _is_accepted(of: Mapping[str, Event]) -> bool:
    """Returns whether a label was accepted with the rest of an audit, so that nobody has looked at the image."""
    return any(actor.startswith(ACTOR) for actor in of)
