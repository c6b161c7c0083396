"""The queue: which samples to look at next, and why, from what a run has left behind. Loads no torch."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.curation.label_propagation import ALIKE, ASKED, asked_for
from gradebook.pipelines.runs import Run, State, list_runs
from gradebook.storage.events import VERDICTS, Event, Kind, decisions, standing
from gradebook.storage.project import Project, ProjectError
from gradebook.storage.samples import Sample, Split

if TYPE_CHECKING:
    from gradebook.storage.store import Store

GIVEN = "mislabelled"  # the reason that is about labels which were given


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One sample of the queue."""

    sample_id: str
    filepath: str
    label: str | None  # the finished student's guess; None before any run has finished
    probability: float | None  # of that guess
    reasons: dict[str, float]  # reason -> score in [0, 1], of the reasons whose evidence is known
    score: float  # what the queue is ordered by
    given: str | None = None  # the label in question, where a label was given; `label` is then the second reader's
    decision: str | None = None  # the event that gave it
    proposal: str | None = None  # the event that asks to look at this sample, where one is in the log already


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


def rank(
    store: "Store",
    run: Run | None,
    *,
    reason: str | None = None,
    limit: int = 50,
    spread: bool = False,
    only: Only | None = None,
) -> list[Row]:
    """Returns the samples to look at, first ones first; those that somebody decided are left out.

    Samples that somebody asked for (`gradebook.pipelines.curation.label_propagation`) come before all others, unless
    one reason is named.

    Args:
        store: the project.
        run: whose opinions to use; without one the samples come without a guess: spread, first those that stand for
            most of the others (`gradebook.pipelines.curation.cold_start`), else in order of import.
        reason: the one reason to order by, instead of the default blend. `mislabelled` gives samples that have a label,
            without those whose label somebody has confirmed or changed when asked about it.
        limit: rows at most.
        spread: leave out near-duplicates and cover what is in doubt (`gradebook.pipelines.curation.batch_coverage`), or
            with one reason classes and clusters (`gradebook.mpl.ranking.spread`), instead of going strictly by score.
        only: which guesses to look at; all samples without it.

    Raises:
        ProjectError: there is no such reason, the run has not finished, or given labels cannot be judged.
    """
    _check(reason, limit)
    events = store.log.read()
    decided = decisions(events)
    if run is not None:
        from gradebook.pipelines.curation.ranked_queue import ordered

        return ordered(store, run, events, decided, reason=reason, limit=limit, spread=spread, only=only)
    if reason == GIVEN:
        raise ProjectError(f"no run has finished, so nothing can doubt a label: gradebook train {store.project.root}")
    train = {s.sample_id: s for s in store.catalog.samples(Split.TRAIN)}
    waiting = {i: s for i, s in train.items() if i not in decided}
    first = [] if reason else [asked(waiting[e.sample_id], e) for e in asked_for(events) if e.sample_id in waiting]
    rest = [i for i in waiting if i not in {row.sample_id for row in first}]
    first = [row for row in first if only is None or only.takes(row.label, row.probability)]
    if only is not None:
        return first[:limit]
    seen = [i for i in train if i in decided]
    return [*first, *(unseen(waiting[i]) for i in _to_begin(store, rest, seen, limit, spread))][:limit]


def newest_finished(project: Project) -> Run | None:
    """Returns the newest run that has finished, if any: the one whose opinions count."""
    finished = [run for run in list_runs(project) if run.status().state is State.FINISHED]
    return finished[-1] if finished else None


def sentences() -> dict[str, str]:
    """Returns what each reason says to a reviewer: name -> sentence."""
    from gradebook.mpl.reasons import REASONS

    return {name: reason.sentence for name, reason in REASONS.items()}


def sentence_of(reason: str) -> str:
    """Returns what a reason says, also one that a proposal has and nothing can be ordered by."""
    return {**dict([ALIKE, ASKED]), **sentences()}.get(reason, reason)


def as_json(row: Row) -> dict[str, Any]:
    """Returns a row as plain data."""
    return asdict(row)


def _to_begin(store: "Store", waiting: list[str], seen: list[str], limit: int, spread: bool) -> list[str]:
    """Returns what to look at while there is no run."""
    if not spread:
        return waiting
    from gradebook.pipelines.curation.cold_start import first_to_label

    return first_to_label(store, waiting, seen, limit)


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


def _check(reason: str | None, limit: int) -> None:
    known = sentences()
    if reason is not None and reason not in known:
        raise ProjectError(f"there is no reason {reason!r}: choose one of {', '.join(known)}")
    if limit < 1:
        raise ProjectError(f"limit={limit} must be at least 1")
