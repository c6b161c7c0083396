"""Accept the rest: answers to a random sample show which pseudo-labels are rarely wrong and can be accepted together.

`begin` draws the images to answer, `progress` returns which are left, `settle` decides and accepts, `undo` retracts all
of it. The statistics are in `gradebook.mpl.acceptance`, the mathematics in docs/accept.md.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.curation import audit_files, labelling
from gradebook.pipelines.curation.audit_draw import Request, draw_groups, hopeless, undecided_pool
from gradebook.pipelines.curation.audit_files import ACTOR, Audit, State
from gradebook.pipelines.curation.audit_parts import Part, accepted_end, describe_parts
from gradebook.pipelines.curation.evidence import check_finished
from gradebook.pipelines.curation.verdicts import Shown
from gradebook.pipelines.runs import Run
from gradebook.storage.events import Event, decisions
from gradebook.storage.project import ProjectError
from gradebook.storage.samples import Split

if TYPE_CHECKING:
    from gradebook.storage.store import Store

EXCESS = 1.0  # times more pseudo-labels are expected to be wrong than the probabilities say, before any audit


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """The state of the newest audit."""

    audit: str
    state: State
    run: str
    error: float
    confidence: float
    seed: int
    attempt: int
    drawn: int  # images to answer
    answered: int
    wrong: int  # of the answers
    accepted: int  # labels that were given by this call
    rest: int  # images without a label that the audit was about and that were not accepted
    parts: list[Part]
    files: list[str]  # drawn images without an answer

    def as_json(self) -> dict[str, Any]:
        """Returns it as plain data."""
        return asdict(self)


def begin(store: "Store", run: Run, request: Request, *, actor: str) -> Audit:
    """Draws the images of a new audit and saves it.

    Raises:
        ProjectError: a value is out of range, the run has not finished, or no audit would be worth its answers.
    """
    if not 0 < request.target < 0.5 or not 0.5 <= request.confidence < 1:
        raise ProjectError(
            f"--error {request.target:g} must be between 0 and 0.5, and --confidence {request.confidence:g} from 0.5 "
            "to below 1: such as --error 0.02 --confidence 0.95"
        )
    check_finished(run)
    attempt, excess = _history(store)
    pool = undecided_pool(store, run)
    draw = draw_groups(pool, request, attempt=attempt, excess=excess)
    if draw is None:
        raise hopeless(pool, request.target, excess)
    audit = Audit(
        audit_id=uuid.uuid4().hex[:16],
        at=datetime.now(UTC).isoformat(),
        actor=actor,
        run=run.name,
        target=request.target,
        confidence=request.confidence,
        seed=request.seed,
        attempt=attempt,
        drawn=draw.drawn,
        expected_wrong=draw.expected_wrong,
    )
    audit_files.save(store.project, audit, draw.groups)
    return audit


def progress(store: "Store", audit: Audit) -> AuditReport:
    """Returns what is known of an audit. Of an open one, the parts are empty until every image has an answer."""
    decided = decisions(store.log.read())
    waiting = [i for i in audit.drawn if i not in decided]
    if audit.state is not State.OPEN:
        return _report(store, audit, decided, waiting, [Part(**part) for part in audit.parts], 0)
    parts = [] if waiting else _decide(store, audit, decided)[0]
    return _report(store, audit, decided, waiting, parts, 0)


def settle(store: "Store", audit: Audit) -> AuditReport:
    """Accepts what the answers of an open audit allow, in one append, and closes it; needs every answer.

    A call that was killed after the append is completed by the next one.
    """
    decided = decisions(store.log.read())
    waiting = [i for i in audit.drawn if i not in decided]
    if audit.state is not State.OPEN or waiting:
        return progress(store, audit)
    parts, accepted = _decide(store, audit, decided)
    actor, wrong = ACTOR + audit.audit_id, _wrong(store, audit, decided)
    count = sum(e.actor == actor for e in decided.values())
    if accepted and not count:
        choices = [
            labelling.Choice(shown=Shown(sample_id=i, label=label, probability=p), label=label, expected=None)
            for i, label, p in accepted
        ]
        count = len(labelling.decide(store, choices, actor=actor).taken)
    closed = audit_files.close(
        store.project, audit, State.ACCEPTED if count else State.REFUSED, wrong, [asdict(p) for p in parts]
    )
    return _report(store, closed, decided, [], parts, count)


def cancel(store: "Store", audit: Audit) -> AuditReport:
    """Closes an open audit without accepting anything; its answers remain labels. It counts as an attempt."""
    decided = decisions(store.log.read())
    waiting = [i for i in audit.drawn if i not in decided]
    closed = audit_files.close(store.project, audit, State.CANCELLED, _wrong(store, audit, decided))
    return _report(store, closed, decided, waiting, [], 0)


def undo(store: "Store", audit_id: str, *, actor: str) -> int:
    """Takes back the labels that an audit accepted, except those that somebody changed since; returns how many.

    Raises:
        ProjectError: there is no such audit, or it accepted nothing that still counts.
    """
    audit = next((a for a in audit_files.list_audits(store.project) if a.audit_id == audit_id), None)
    if audit is None:
        raise ProjectError(f"there is no audit {audit_id!r} in {store.project.root}: gradebook log shows their ids")
    log = labelling.read_log(store)
    standing = [e for e in log.decided.values() if e.actor == ACTOR + audit_id]
    items = [labelling.Undo(ref=e.event_id, expected=e.event_id, of_anyone=True) for e in standing]
    if not items:
        raise ProjectError(f"no label of audit {audit_id} is in effect: there is nothing to undo")
    taken = labelling.decide(store, items, actor=actor, read=partial(labelling.read_log, store, log)).taken
    audit_files.close(store.project, audit, State.UNDONE, audit.wrong, audit.parts)
    return len(taken)


def newest(store: "Store") -> Audit | None:
    """Returns the open audit, or else the newest one, None without any."""
    audits = audit_files.list_audits(store.project)
    return audit_files.open_audit(store.project) or (audits[-1] if audits else None)


def _history(store: "Store") -> tuple[int, float]:
    """Returns the number of the next attempt, and how many times more pseudo-labels were wrong than expected."""
    attempt, excess = 1, EXCESS
    for audit in audit_files.list_audits(store.project):
        attempt = 1 if audit.state in (State.ACCEPTED, State.UNDONE) else attempt + 1
        if audit.state is not State.CANCELLED:
            excess = next_excess(audit.wrong, audit.expected_wrong)
    return attempt, excess


def next_excess(wrong: int, expected: float) -> float:
    """Returns how many times more pseudo-labels are wrong than expected, by the answers of an audit."""
    return (wrong + 1) / (expected + 1)


def _wrong(store: "Store", audit: Audit, decided: Mapping[str, Event]) -> int:
    groups = audit_files.read_groups(store.project, audit)
    pseudo = {i: label for g in groups for i, label in zip(g.sample_ids, g.labels, strict=True)}
    return sum(decided[i].label != pseudo[i] for i in audit.drawn if i in decided)


def _decide(
    store: "Store", audit: Audit, decided: Mapping[str, Event]
) -> tuple[list[Part], list[tuple[str, str, float]]]:
    """Returns what the answers say of every part, and the pseudo-labels to accept: id, label, probability."""
    drawn, labels = (
        frozenset(audit.drawn),
        {i: e.label for i, e in decided.items() if e.actor != ACTOR + audit.audit_id},
    )
    in_training = {s.sample_id for s in store.catalog.samples(Split.TRAIN)}
    parts, accepted = list[Part](), list[tuple[str, str, float]]()
    for group in audit_files.read_groups(store.project, audit):
        end = accepted_end(group, audit.target, labels, drawn)
        parts += describe_parts(group, labels, drawn, end)
        rows = zip(group.sample_ids[:end], group.labels[:end], group.probabilities[:end], strict=True)
        accepted += [row for row in rows if row[0] in in_training and row[0] not in labels]
    return parts, accepted


def _report(  # what a call did, and what is known
    store: "Store",
    audit: Audit,
    decided: Mapping[str, Event],
    waiting: Sequence[str],
    parts: list[Part],
    accepted: int,
) -> AuditReport:
    about = [i for group in audit_files.read_groups(store.project, audit) for i in group.sample_ids]
    paths = {s.sample_id: s.filepath for s in store.catalog.samples(among=list(waiting))}
    return AuditReport(
        audit=audit.audit_id,
        state=audit.state,
        run=audit.run,
        error=audit.target,
        confidence=audit.confidence,
        seed=audit.seed,
        attempt=audit.attempt,
        drawn=len(audit.drawn),
        answered=len(audit.drawn) - len(waiting),
        wrong=audit.wrong if audit.state is not State.OPEN else _wrong(store, audit, decided) if not waiting else 0,
        accepted=accepted,
        rest=sum(i not in decided for i in about) - accepted,
        parts=parts,
        files=[paths[i] for i in waiting if i in paths],
    )
