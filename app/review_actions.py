"""The logic of the review page: the keys of the classes, the verdicts of actions, and the session's statistics."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from itertools import pairwise
from typing import Any

from gradebook.app.data_access import read_events
from gradebook.app.text import actor_name
from gradebook.pipelines.curation import labelling
from gradebook.pipelines.curation.class_changes import add, change_classes
from gradebook.pipelines.curation.event_cache import EventCache
from gradebook.pipelines.curation.label_propagation import is_from_neighbours
from gradebook.pipelines.curation.queue_items import Row
from gradebook.pipelines.curation.verdicts import Shown, shown_of
from gradebook.pipelines.runs import Run
from gradebook.storage.class_changes import ProjectClass
from gradebook.storage.events import VERDICTS, Event, Kind
from gradebook.storage.project import Project, ProjectError, read_project
from gradebook.storage.sample_files import CHANGED
from gradebook.storage.store import Store

SESSION_GAP = timedelta(minutes=10)  # a longer pause between two verdicts ends the session
MIN_GAP = timedelta(milliseconds=50)  # between two verdicts of one reviewer; closer ones were written together
ACTION_ID = re.compile(r"[0-9a-f]{32}")


class Action(StrEnum):
    """The actions of a reviewer."""

    LABEL = "label"
    REJECT = "reject"  # no class applies
    UNDO = "undo"
    SKIP = "skip"
    UNSKIP = "unskip"  # undo a skip
    MORE = "more"  # show other images
    SIMILAR = "similar"  # show the images most similar to this one next
    HISTORY = "history"  # open the sample on the page Evolution
    HEARTBEAT = "heartbeat"  # the reviewer is still active


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewAction:
    """One action of a reviewer, as the browser sends it."""

    action_id: str  # 32 hexadecimal digits from the browser; becomes the id of the event that the action writes
    action: Action
    sample_id: str = ""
    label: str | None = None
    expected: str | None = None  # id of the event that decided the sample on the screen; for an undo, the one to undo
    batch: str = ""  # name of the batch of images that was on the screen
    create: bool = False  # whether to add `label` to the classes if it is none
    independent: bool = False  # whether the earlier answers about the sample were hidden


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """A verdict or an undo that was not written, because of an event that was not on the screen."""

    action: ReviewAction
    existing: Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of a list of actions."""

    conflicts: list[Conflict] = field(default_factory=list)
    invalid: list[ReviewAction] = field(
        default_factory=list
    )  # of a sample or class that is not in the project, or of a changed file
    reasons: dict[str, str] = field(default_factory=dict)  # action_id -> why it is invalid
    undone: dict[str, str] = field(default_factory=dict)  # action_id of an undo -> the sample whose verdict it undid


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStats:
    """Statistics of a reviewer's current session. Undone verdicts do not count."""

    verdicts: int
    predicted: int  # verdicts on samples that were shown with a prediction
    correct: int  # of these, accepted predictions
    similar: int  # verdicts on samples that were shown with the label of a similar image
    similar_correct: int  # of these, accepted labels
    per_minute: float | None  # verdicts; None for fewer than two


def class_keys(classes: Iterable[ProjectClass]) -> dict[str, str]:
    """Returns the class of each key. With many classes, the last ones have no key."""
    return {one.key: one.name for one in classes if one.key}


def parse_actions(message: Any, batch: str = "") -> list[ReviewAction]:
    """Returns the valid actions of a message from the browser, which is not trusted; others are dropped.

    Args:
        message: the list of actions.
        batch: of the actions that name none.
    """
    actions = []
    for item in message if isinstance(message, list) else []:
        try:
            action = ReviewAction(
                action_id=item["action_id"],
                action=Action(item["action"]),
                sample_id=str(item.get("sample_id") or ""),
                label=item.get("label"),
                expected=item.get("expected"),
                batch=str(item.get("batch") or batch),
                create=item.get("create") is True,
                independent=item.get("independent") is True,
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            continue
        if isinstance(action.action_id, str) and ACTION_ID.fullmatch(action.action_id):
            actions.append(action)
    return actions


def apply_actions(
    store: Store, run: Run | None, actor: str, actions: Sequence[ReviewAction], rows: Mapping[str, Row]
) -> Outcome:
    """Writes the verdicts of a list of actions in one append; verdicts that are already in the log are skipped.

    Args:
        store: the open project.
        run: whose predictions were on the screen.
        actor: the reviewer.
        actions: in order.
        rows: what was on the screen, by sample_id.
    """
    problems = _create_classes(store, actor, actions)
    project = read_project(store.project.root)  # `store` may have been opened before a change of classes
    items = [item for action in actions if (item := _to_item(store, project, run, action, rows)) is not None]
    taken = {item.event_id for item in items}
    invalid = [a for a in actions if a.action in (Action.LABEL, Action.REJECT) and a.action_id not in taken]
    reasons = {a.action_id: problems.get(a.action_id) or _why_invalid(project, a) for a in invalid}
    if not items:
        return Outcome(invalid=invalid, reasons=reasons)
    outcome, by_id = _decide(store, actor, items), {action.action_id: action for action in actions}
    changed = [by_id[choice.event_id] for choice in outcome.changed]
    return Outcome(
        conflicts=[Conflict(action=by_id[c.item.event_id], existing=c.by) for c in outcome.conflicts if c.by],
        invalid=[*invalid, *changed],
        reasons=reasons | {action.action_id: CHANGED for action in changed},
        undone={e.event_id: e.sample_id for e in outcome.taken if e.kind is Kind.RETRACTED},
    )


def describe_failures(outcome: Outcome) -> list[dict[str, str]]:
    """Returns the verdicts and undos that were not written, and why, for the browser."""
    failures = [(conflict.action, _describe_conflict(conflict)) for conflict in outcome.conflicts]
    failures += [(action, _describe_invalid(action, outcome.reasons[action.action_id])) for action in outcome.invalid]
    return [{"sample_id": a.sample_id, "action_id": a.action_id, "text": text} for a, text in failures]


def decide(store: Store, actor: str, shown: Shown, label: str | None, *, expected: Event | None) -> Event | None:
    """Writes one verdict, unless the sample has been decided since it was shown.

    Args:
        store: the open project.
        actor: the reviewer.
        shown: what was on the screen.
        label: the class; None rejects the sample, because no class applies.
        expected: the event that decided the sample when it was shown, None if there was none.

    Returns:
        The conflicting event, in which case nothing was written, else None.

    Raises:
        ProjectError: the sample's file holds another image since its import.
    """
    item = labelling.Choice(shown=shown, label=label, expected=expected.event_id if expected else None)
    outcome = _decide(store, actor, [item])
    if outcome.changed:
        raise ProjectError(f"the label was not saved: {CHANGED}")
    return _conflicting_event(outcome)


def undo_verdict(store: Store, actor: str, decision: Event) -> Event | None:
    """Writes the retraction of a verdict of any reviewer; returns the same as `decide`."""
    item = labelling.Undo(ref=decision.event_id, expected=decision.event_id, of_anyone=True)
    return _conflicting_event(_decide(store, actor, [item]))


def session_stats(events: EventCache, actor: str, *, now: datetime | None = None) -> SessionStats:
    """Returns the statistics of an actor since their last pause of more than `SESSION_GAP`."""
    own = sorted((e for e in events.decided.values() if e.actor == actor and e.kind in VERDICTS), key=lambda e: e.at)
    start, later = len(own), now or datetime.now(UTC)
    while start and later - own[start - 1].at < SESSION_GAP:
        start, later = start - 1, own[start - 1].at
    session = own[start:]
    proposed = [(e, events.known.get(e.ref)) for e in session if e.ref is not None]
    similar = [e for e, proposal in proposed if proposal is not None and is_from_neighbours(proposal)]
    predicted = [e for e, _ in proposed if e not in similar]
    minutes = (session[-1].at - session[0].at).total_seconds() / 60 if session else 0.0
    typed = sum(later.at - earlier.at >= MIN_GAP for earlier, later in pairwise(session))  # not several at once
    return SessionStats(
        verdicts=len(session),
        predicted=len(predicted),
        correct=sum(e.kind is Kind.ACCEPTED for e in predicted),
        similar=len(similar),
        similar_correct=sum(e.kind is Kind.ACCEPTED for e in similar),
        per_minute=typed / minutes if typed else None,
    )


def _decide(store: Store, actor: str, items: Sequence[labelling.Item]) -> labelling.Outcome:
    return labelling.decide(store, items, actor=actor, read=partial(read_events, store))


def _describe_conflict(conflict: Conflict) -> str:
    action, existing = conflict.action, conflict.existing
    verb = "undone this verdict" if existing.kind is Kind.RETRACTED else "decided this image"
    theirs = "" if existing.kind is Kind.RETRACTED else f": {existing.label or 'rejected'}"
    mine = "undo" if action.action is Action.UNDO else f"verdict ({action.label or 'rejected'})"
    return f"{actor_name(existing.actor)} has {verb} before you{theirs}. Your {mine} was not saved."


def _describe_invalid(action: ReviewAction, reason: str) -> str:
    return f"Your verdict ({action.label or 'rejected'}) was not saved: {reason}."


def _why_invalid(project: Project, action: ReviewAction) -> str:
    if action.label is None or action.label in project.classes:
        return "the project no longer has this image"
    former = project.history.former(action.label)
    return f"{action.label} is no class of the project" if former is None else project.describe_unknown(action.label)


def _create_classes(store: Store, actor: str, actions: Sequence[ReviewAction]) -> dict[str, str]:
    """Adds the classes that actions create; returns why one cannot be added, by action_id."""
    problems, new = dict[str, str](), [a for a in actions if a.create and a.action is Action.LABEL and a.label]
    for action in new:
        if action.label is None or action.label in read_project(store.project.root).classes:
            continue
        try:
            change_classes(store, add([action.label]), actor=actor)
        except ProjectError as error:
            problems[action.action_id] = str(error)
    return problems


def _conflicting_event(outcome: labelling.Outcome) -> Event | None:
    return outcome.conflicts[0].by if outcome.conflicts else None


def _to_item(
    store: Store, project: Project, run: Run | None, action: ReviewAction, rows: Mapping[str, Row]
) -> labelling.Item | None:
    """Returns the verdict or undo that an action asks for, None if it asks for neither or is invalid."""
    if action.action is Action.UNDO:
        return labelling.Undo(ref=action.expected, expected=action.expected, event_id=action.action_id)
    if action.action not in (Action.LABEL, Action.REJECT) or not _is_valid(store, project, action, rows):
        return None
    row = rows.get(action.sample_id)
    if row is None or action.independent:  # after a restart of the server, or where nothing of the row was shown
        shown = Shown(sample_id=action.sample_id, independent=action.independent)
    else:
        shown = shown_of(row, run.name if run else None)
    return labelling.Choice(
        shown=shown,
        label=action.label if action.action is Action.LABEL else None,
        expected=action.expected,
        event_id=action.action_id,
    )


def _is_valid(store: Store, project: Project, action: ReviewAction, rows: Mapping[str, Row]) -> bool:
    """Returns whether the action names a sample and, if it labels it, a class of the project."""
    if action.action is Action.LABEL and action.label not in project.classes:
        return False
    try:
        return action.sample_id in rows or bool(store.catalog.get([action.sample_id]))
    except ProjectError:
        return False
