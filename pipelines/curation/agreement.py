"""Agreement: how often reviewers accepted the label that they were shown, in total and for each reason.

A reason that finds mistakes is one with which reviewers agree less often than with the others.
"""

from collections.abc import Iterable
from typing import TypedDict

from gradebook.pipelines.curation.label_propagation import ALIKE, is_from_neighbours
from gradebook.pipelines.curation.queue_items import reason_name
from gradebook.storage.events import VERDICTS, Event, Kind, standing

STRONG = 0.5  # the score from which a reason counts as one why a sample was shown


class Agreement(TypedDict):
    """Of the proposals that were answered."""

    answered: int
    agreed: int  # the verdict was the proposed label
    rate: float  # agreed / answered


def agreement(events: Iterable[Event]) -> dict[str, Agreement]:
    """Returns the agreement with all predictions of models as "all", then with those that have each reason at `STRONG`.

    Labels that were proposed because a similar image has them are no predictions: they count under their own reason
    alone. A verdict answers the proposal that it refers to. One that was taken back does not count; of several that
    answer one proposal, the last counts. Reasons come in order of their rate, lowest first; one without answers is
    left out.
    """
    rows = standing(events)
    proposals = {e.event_id: e for e in rows if e.kind is Kind.PROPOSED}
    verdicts = {e.ref: e for e in rows if e.kind in VERDICTS and e.ref in proposals}
    agreed: dict[str, list[bool]] = {"all": []}
    for ref, verdict in verdicts.items():
        proposal = proposals[ref or ""]
        for name in _counted_under(proposal):
            agreed.setdefault(name, []).append(verdict.label == proposal.label)
    counts = {name: _count(answers) for name, answers in agreed.items()}
    return {"all": counts.pop("all"), **dict(sorted(counts.items(), key=lambda item: (item[1]["rate"], item[0])))}


def _counted_under(proposal: Event) -> list[str]:
    if is_from_neighbours(proposal):
        return [ALIKE[0]]
    return ["all", *(reason_name(reason) for reason, score in proposal.reasons.items() if score >= STRONG)]


def _count(answers: list[bool]) -> Agreement:
    rate = round(sum(answers) / len(answers), 4) if answers else 0.0
    return Agreement(answered=len(answers), agreed=sum(answers), rate=rate)
