"""Agreement: how often reviewers found the guess right that they were shown, in all and for each reason.

A reason that finds mistakes is one whose guesses reviewers agree with less often than with the others.
"""

from collections.abc import Iterable
from typing import TypedDict

from gradebook.storage.events import VERDICTS, Event, Kind, standing

STRONG = 0.5  # from which score on a reason counts as one why a sample was shown


class Agreement(TypedDict):
    """Of the proposals that were answered."""

    answered: int
    agreed: int  # the verdict was the proposed label
    rate: float  # agreed / answered


def agreement(events: Iterable[Event]) -> dict[str, Agreement]:
    """Returns the agreement over all answered proposals as "all", then over those with each reason at `STRONG` or more.

    A verdict answers the proposal that it refers to. One that was taken back counts no more; of several that answer one
    proposal the last counts. Reasons come in order of their rate, lowest first; one without answers is left out.
    """
    rows = standing(events)
    proposals = {e.event_id: e for e in rows if e.kind is Kind.PROPOSED}
    verdicts = {e.ref: e for e in rows if e.kind in VERDICTS and e.ref in proposals}
    agreed: dict[str, list[bool]] = {"all": []}
    for ref, verdict in verdicts.items():
        proposal = proposals[ref or ""]
        for name in ("all", *(reason for reason, score in proposal.reasons.items() if score >= STRONG)):
            agreed.setdefault(name, []).append(verdict.label == proposal.label)
    found = {
        name: Agreement(answered=len(said), agreed=sum(said), rate=round(sum(said) / len(said), 4) if said else 0.0)
        for name, said in agreed.items()
    }
    return {"all": found.pop("all"), **dict(sorted(found.items(), key=lambda item: (item[1]["rate"], item[0])))}
