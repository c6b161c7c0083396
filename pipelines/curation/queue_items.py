"""The rows of a review queue, the filter on them, and the sentences that explain the reasons to a reviewer."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from gradebook.pipelines.curation.label_propagation import ALIKE, ASKED
from gradebook.storage.events import VERDICTS, Event, Kind, standing, undecided_by_classes
from gradebook.storage.quality import Flags
from gradebook.storage.samples import Sample

PROBE = "feature_classifier"  # the reason that compares the prediction with a linear probe's
GIVEN = "mislabelled"  # the reason that judges given labels
CLASS_CHANGED = ("class_changed", "its class was split, or a change of it was undone: label it again")
CONFLICT = ("reviewers_disagree", "reviewers disagree")
QUALITY = {  # problem that an import found (`gradebook.pipelines.importing.image_quality`) -> sentence
    "dark": "dark",
    "bright": "very bright",
    "blurred": "blurred",
    "near_uniform": "nearly uniform",
    "odd_size": "much larger or smaller than the other images",
    "odd_aspect_ratio": "unusually long or narrow",
}
OLD_NAMES = {"second_reader": "feature_classifier"}  # old name of a reason -> name; older events and scripts use it


class Source(StrEnum):
    """The source of the label that a row proposes."""

    MODEL = "model"  # the run's prediction
    NEIGHBOURS = "neighbours"  # the label of a similar image


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One sample of the queue."""

    sample_id: str
    filepath: str
    label: str | None  # the proposed label: the student's prediction, or the label of a similar image; see `source`
    probability: float | None  # of the proposed label
    reasons: dict[str, float]  # reason -> score in [0, 1], for reasons with known evidence
    score: float  # by which the queue is ordered
    given: str | None = None  # the sample's present label, if any; `label` is then the feature classifier's prediction
    decision: str | None = None  # the event that gave the present label
    proposal: str | None = None  # the event in the log that sent this sample to the queue, if any
    probe: str | None = None  # the class that a linear probe on the embeddings predicts, if there is one
    blind: bool = False  # whether the reviewer must not see what a model or similar images say
    independent: bool = False  # whether a further answer is asked, without sight of the earlier ones
    answers: Mapping[str, str | None] = field(default_factory=dict)  # reviewer -> class, if their answers differ

    @property
    def source(self) -> Source | None:
        """The source of `label`, None if no label is proposed."""
        if self.label is None:
            return None
        return Source.NEIGHBOURS if ALIKE[0] in self.reasons else Source.MODEL


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionFilter:
    """Which predictions to show. Samples without a prediction never match."""

    label: str | None = None  # the predicted class; None for any
    min_probability: float = 0.0  # of the prediction
    max_probability: float = 1.0

    def matches(self, label: str | None, probability: float | None) -> bool:
        """Returns whether a prediction matches."""
        if label is None or self.label not in (None, label):
            return False
        return probability is None or self.min_probability <= probability <= self.max_probability


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The options of `gradebook.pipelines.curation.review_queue.rank`."""

    reason: str | None  # to order by; None for the default order
    limit: int  # maximum number of rows
    spread: bool  # choose a diverse batch instead of the highest scores
    only: PredictionFilter | None  # which predictions to show


def sentences() -> dict[str, str]:
    """Returns the sentence that explains each reason to a reviewer: name -> sentence."""
    from gradebook.mpl.reasons import REASONS

    return {name: reason.sentence for name, reason in REASONS.items()}


def sentence_of(reason: str) -> str:
    """Returns the sentence of a reason, including the reasons of proposals, by which nothing is ordered."""
    return {**dict([ALIKE, ASKED, CLASS_CHANGED, CONFLICT]), **QUALITY, **sentences()}.get(reason_name(reason), reason)


def reason_text(row: Row, reason: str) -> str:
    """Returns the sentence of a reason for one row, with the class that the linear probe predicts."""
    if reason_name(reason) == PROBE and row.probe is not None:
        is_same = row.probe == row.label
        return "a linear probe is less sure" if is_same else f"a linear probe predicts {row.probe}"
    return sentence_of(reason)


def with_quality(rows: Iterable[Row], flags: Flags) -> list[Row]:
    """Returns the rows with the quality problems of their images among the reasons; none for rows that are blind."""
    return [
        replace(row, reasons={**row.reasons, **flags[row.sample_id]})
        if row.sample_id in flags and not row.blind
        else row
        for row in rows
    ]


def answers_text(answers: Mapping[str, str | None]) -> str:
    """Returns who answered what: "ada: cat, bob: dog"."""
    return ", ".join(f"{actor}: {label or 'rejected'}" for actor, label in answers.items())


def reason_name(reason: str) -> str:
    """Returns the name of a reason from its name or an old name."""
    return OLD_NAMES.get(reason, reason)


def as_json(row: Row) -> dict[str, Any]:
    """Returns a row as plain data; renamed reasons appear under both names."""
    old = {name: row.reasons[now] for name, now in OLD_NAMES.items() if now in row.reasons}
    values = {name: value for name, value in asdict(row).items() if name not in ("blind", "independent")}
    return {**values, "reasons": {**row.reasons, **old}, "source": row.source}


def confirmed_verdicts(events: Iterable[Event]) -> set[str]:
    """Returns the ids of the verdicts on labels that the queue doubted, so that these are not doubted again."""
    rows = standing(events)
    doubts = {e.event_id for e in rows if e.kind is Kind.PROPOSED and GIVEN in e.reasons}
    return {e.event_id for e in rows if e.kind in VERDICTS and e.ref in doubts}


def with_label(row: Row, decision: Event) -> Row:
    """Returns the row with the sample's present label."""
    return Row(**{**asdict(row), "given": decision.label, "decision": decision.event_id})


def requested_row(sample: Sample, proposal: Event) -> Row:
    """Returns the row of a sample that a person sent to the queue."""
    return Row(
        sample_id=sample.sample_id,
        filepath=sample.filepath,
        label=proposal.label,
        probability=proposal.confidence,
        reasons=dict(proposal.reasons),
        score=1.0,
        proposal=proposal.event_id,
    )


def reopened_samples(events: Iterable[Event]) -> list[str]:
    """Returns the samples that are to be labelled again, because their class was split or a change of it was undone."""
    return [i for i, meaning in undecided_by_classes(events).items() if meaning.is_open]


def reopened_rows(events: Sequence[Event], samples: Callable[[list[str]], Sequence[Sample]]) -> list[Row]:
    """Returns the rows of the samples that are to be labelled again, because their class was split.

    Args:
        events: the log.
        samples: returns the training samples among these ids.
    """
    ids = reopened_samples(events)
    rows = [empty_row(sample) for sample in (samples(ids) if ids else ())]
    return [replace(row, reasons={CLASS_CHANGED[0]: 1.0}, score=1.0) for row in rows]


def empty_row(sample: Sample) -> Row:
    """Returns the row of a sample without a prediction."""
    return Row(
        sample_id=sample.sample_id, filepath=sample.filepath, label=None, probability=None, reasons={}, score=0.0
    )
