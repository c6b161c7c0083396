"""Takes back a verdict or an undo of any person, by the id of its event."""

from functools import partial
from typing import TYPE_CHECKING

from gradebook.pipelines.curation.labelling import Undo, decide, read_log
from gradebook.storage.events import Event, Kind
from gradebook.storage.project import ProjectError

if TYPE_CHECKING:
    from gradebook.storage.store import Store


def take_back(store: "Store", event_id: str, *, actor: str) -> Event:
    """Retracts a verdict or an undo of any person; returns the retraction.

    Raises:
        ProjectError: there is no such event, it is not a verdict or undo, it is already retracted, or another person
            decided the sample at the same moment.
    """
    seen, root = read_log(store), store.project.root
    event = seen.known.get(event_id)
    if event is None:
        raise ProjectError(f"there is no event {event_id!r} in the log: gradebook log {root} lists their ids")
    now = seen.decided.get(event.sample_id)
    item = Undo(ref=event_id, expected=now.event_id if now else None, of_anyone=True)
    outcome = decide(store, [item], actor=actor, read=partial(read_log, store, seen))
    for conflict in outcome.conflicts:
        raise ProjectError(_undo_error(store, event, conflict.by))
    return outcome.taken[0]


def _undo_error(store: "Store", event: Event, by: Event | None) -> str:
    """Returns the message for an event that cannot be retracted."""
    root = store.project.root
    if by is None:
        what = "a label given at an import" if event.kind is Kind.IMPORTED else f"a proposal of {event.actor}"
        return (
            f"{event.event_id} is not a verdict but {what}, so there is nothing to undo: "
            f"to give another label, gradebook label {root} --sample {event.sample_id} --label NAME"
        )
    if by.ref == event.event_id:
        return f"{by.actor} has already undone {event.event_id}: to restore it, gradebook undo {root} {by.event_id}"
    look = f"gradebook log {root} {event.sample_id}"
    return f"{by.actor} has just decided {event.sample_id}: look at it with {look}, then undo again"
