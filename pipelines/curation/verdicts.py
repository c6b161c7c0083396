"""The events of a reviewer's choice, the same in the app and in FiftyOne."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gradebook.pipelines.curation.queue_items import Row
from gradebook.storage.events import INDEPENDENT, Event, Kind, event, retraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What the reviewer saw of a sample when they decided."""

    sample_id: str
    label: str | None = None  # the proposed label, if any
    probability: float | None = None  # of the proposed label
    reasons: Mapping[str, float] = field(default_factory=dict)  # reason -> score in [0, 1]
    run: str | None = None  # whose prediction the proposed label is
    proposal: str | None = None  # the event that proposed it, if it is already in the log
    independent: bool = False  # whether the answers before were hidden: see `gradebook.storage.events.answers`


def shown_of(row: Row, run: str | None) -> Shown:
    """Returns what a row of the queue shows; `run` is the name of the run whose prediction it is."""
    return Shown(
        sample_id=row.sample_id,
        label=row.label,
        probability=row.probability,
        reasons=row.reasons,
        run=run,
        proposal=row.proposal,
    )


def verdict(shown: Shown, label: str | None, *, actor: str) -> list[Event]:
    """Returns the events of a choice, to be appended together.

    The proposal that was on the screen is logged with the verdict, as a record of what the reviewer saw.

    Args:
        shown: what was on the screen.
        label: the chosen class; None if no class applies.
        actor: the reviewer's name.
    """
    if shown.independent:
        return [event(_kind(shown, label), shown.sample_id, label, actor=actor, reasons={INDEPENDENT: 1.0})]
    if shown.proposal is not None:
        return [event(_kind(shown, label), shown.sample_id, label, actor=actor, ref=shown.proposal)]
    if shown.label is None or shown.run is None:
        return [event(_kind(shown, label), shown.sample_id, label, actor=actor)]
    proposal = event(
        Kind.PROPOSED,
        shown.sample_id,
        shown.label,
        actor=f"run:{shown.run}",
        confidence=shown.probability,
        reasons=shown.reasons,
    )
    return [proposal, event(_kind(shown, label), shown.sample_id, label, actor=actor, ref=proposal.event_id)]


def undo(decision: Event, *, actor: str) -> Event:
    """Returns the event that retracts a verdict; the decision before it becomes valid again."""
    return retraction(decision, actor=actor)


def _kind(shown: Shown, label: str | None) -> Kind:
    if label is None:
        return Kind.REJECTED
    return Kind.ACCEPTED if label == shown.label else Kind.RELABELLED
