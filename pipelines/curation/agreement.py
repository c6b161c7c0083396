"""Agreement: how often reviewers accepted the label that they were shown, in total and for each reason.

For a reason that finds mistakes, reviewers accept the shown label less often than for the others.
"""

from collections.abc import Iterable
from typing import TypedDict

from gradebook.pipelines.curation.label_propagation import ALIKE, is_from_neighbours
from gradebook.pipelines.curation.queue_items import reason_name
from gradebook.storage.events import VERDICTS, Event, Kind, standing

STRONG = 0.5  # score from which a reason counts for a sample


class Agreement(TypedDict):
    """Counts of answered proposals."""

    answered: int
    agreed: int  # the verdict was the proposed label
    rate: float  # agreed / answered


def agreement(events: Iterable[Event]) -> dict[str, Agreement]:
    """Returns the agreement with all predictions as "all", and with the predictions that had each reason.

    A reason counts from a score of `STRONG`. Labels proposed from similar images are not predictions and count only
    under their own reason. A verdict answers the proposal that it refers to; retracted verdicts do not count, and of
    several verdicts on one proposal the last one does. Reasons are sorted by rate, lowest first; reasons without
    answers are left out.
    """
    rows = standing(events)
    proposals = {e.event_id: e for e in rows if e.kind is Kind.PROPOSED}
    verdicts = {e.ref: e for e in rows if e.kind in VERDICTS and e.ref in proposals}
    agreed: dict[str, list[bool]] = {"all": []}
    for ref, verdict in verdicts.items():
        proposal = proposals[ref or ""]
        for name in _names(proposal):
            agreed.setdefault(name, []).append(verdict.label == proposal.label)
    counts = {name: _count(answers) for name, answers in agreed.items()}
    return {"all": counts.pop("all"), **dict(sorted(counts.items(), key=lambda item: (item[1]["rate"], item[0])))}


def _names(proposal: Event) -> list[str]:
    if is_from_neighbours(proposal):
        return [ALIKE[0]]
    return ["all", *(reason_name(reason) for reason, score in proposal.reasons.items() if score >= STRONG)]


def _count(answers: list[bool]) -> Agreement:
    rate = round(sum(answers) / len(answers), 4) if answers else 0.0
    return Agreement(answered=len(answers), agreed=sum(answers), rate=rate)
