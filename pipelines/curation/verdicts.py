"""What a reviewer's choice means, as events: the same in the app and in FiftyOne."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gradebook.storage.events import VERDICTS, Event, Kind, event, retraction, standing


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a reviewer saw of one sample when they decided."""

    sample_id: str
    label: str | None = None  # our guess, if we had one
    probability: float | None = None  # of the guess
    reasons: Mapping[str, float] = field(default_factory=dict)  # why we showed it -> score in [0, 1]
    run: str | None = None  # whose guess it was
    proposal: str | None = None  # the event that proposed it, where the log has one already


def verdict(shown: Shown, label: str | None, *, actor: str) -> list[Event]:
    """Returns the events that a choice amounts to, for one append.

    The guess that was on the screen goes into the log with the answer to it, so that the log tells later what the
    reviewer had before their eyes.

    Args:
        shown: what was on the screen.
        label: the class chosen; None says that no class applies.
        actor: who chose.
    """
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
    """Returns the event that takes a verdict back; what stood before it stands again."""
    return retraction(decision, actor=actor)


def last_verdict(events: Iterable[Event], actor: str) -> Event | None:
    """Returns the actor's newest verdict that stands, which is the one to undo next."""
    return next((e for e in reversed(standing(events)) if e.kind in VERDICTS and e.actor == actor), None)


def _kind(shown: Shown, label: str | None) -> Kind:
    if label is None:
        return Kind.REJECTED
    return Kind.ACCEPTED if label == shown.label else Kind.RELABELLED
