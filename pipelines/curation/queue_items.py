"""The rows of a review queue, the filter on them, and the sentence that each reason says to a reviewer."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from gradebook.pipelines.curation.label_propagation import ALIKE, ASKED
from gradebook.storage.events import VERDICTS, Event, Kind, standing
from gradebook.storage.samples import Sample

GIVEN = "mislabelled"  # the reason that is about labels which were given
OLD_NAMES = {"second_reader": "feature_classifier"}  # of reasons: in older events, and in commands


class Source(StrEnum):
    """Where the label comes from that a row proposes."""

    MODEL = "model"  # a prediction
    NEIGHBOURS = "neighbours"  # a similar image has it


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One sample of the queue."""

    sample_id: str
    filepath: str
    label: str | None  # proposed: the finished student's prediction, or a similar image's label; see `source`
    probability: float | None  # of that guess
    reasons: dict[str, float]  # reason -> score in [0, 1], of the reasons whose evidence is known
    score: float  # what the queue is ordered by
    given: str | None = None  # the label in question, where a label was given; `label` is then the feature classifier's
    decision: str | None = None  # the event that gave it
    proposal: str | None = None  # the event that asks to look at this sample, where one is in the log already

    @property
    def source(self) -> Source | None:
        """Where `label` comes from, None without one."""
        if self.label is None:
            return None
        return Source.NEIGHBOURS if ALIKE[0] in self.reasons else Source.MODEL


@dataclass(frozen=True, slots=True, kw_only=True)
class Only:
    """Which guesses to look at. Samples without a guess are none of them."""

    label: str | None = None  # the guess; None for any
    least: float = 0.0  # probability of the guess
    most: float = 1.0

    def takes(self, label: str | None, probability: float | None) -> bool:
        """Tells whether a guess is one of them."""
        if label is None or self.label not in (None, label):
            return False
        return probability is None or self.least <= probability <= self.most


def sentences() -> dict[str, str]:
    """Returns what each reason says to a reviewer: name -> sentence."""
    from gradebook.mpl.reasons import REASONS

    return {name: reason.sentence for name, reason in REASONS.items()}


def sentence_of(reason: str) -> str:
    """Returns what a reason says, also one that a proposal has and nothing can be ordered by."""
    return {**dict([ALIKE, ASKED]), **sentences()}.get(reason_name(reason), reason)


def reason_name(reason: str) -> str:
    """Returns the name of a reason by its present or an older one."""
    return OLD_NAMES.get(reason, reason)


def as_json(row: Row) -> dict[str, Any]:
    """Returns a row as plain data; reasons that were renamed are there by both names."""
    old = {name: row.reasons[now] for name, now in OLD_NAMES.items() if now in row.reasons}
    return {**asdict(row), "reasons": {**row.reasons, **old}, "source": row.source}


def settled(events: Iterable[Event]) -> set[str]:
    """Returns the verdicts that answer a doubt of a given label: nobody is asked twice."""
    rows = standing(events)
    doubts = {e.event_id for e in rows if e.kind is Kind.PROPOSED and GIVEN in e.reasons}
    return {e.event_id for e in rows if e.kind in VERDICTS and e.ref in doubts}


def with_label(row: Row, decision: Event) -> Row:
    """Returns the row with the label that the sample has, as the one in question."""
    return Row(**{**asdict(row), "given": decision.label, "decision": decision.event_id})


def asked(sample: Sample, proposal: Event) -> Row:
    """Returns the row of a sample that somebody asked to look at."""
    return Row(
        sample_id=sample.sample_id,
        filepath=sample.filepath,
        label=proposal.label,
        probability=proposal.confidence,
        reasons=dict(proposal.reasons),
        score=1.0,
        proposal=proposal.event_id,
    )


def unseen(sample: Sample) -> Row:
    """Returns the row of a sample of which nothing is known."""
    return Row(
        sample_id=sample.sample_id, filepath=sample.filepath, label=None, probability=None, reasons={}, score=0.0
    )
