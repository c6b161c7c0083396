"""The event log is complete, refers to what exists, and means the same in any order."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from gradebook.pipelines.maintenance.checks.finding import Finding, Subject, uses_project_data
from gradebook.storage import log_chain
from gradebook.storage.class_history import ClassHistory
from gradebook.storage.events import Event, Kind, class_history, is_class_event, queue, replay, with_present_name
from gradebook.storage.project import SETTINGS, Project, ProjectError, write_classes
from gradebook.storage.run_classes import AS_OF
from gradebook.storage.store import tables_of

BACKUP = "restore lance/events.lance from a backup"
CLOCK_SKEW = timedelta(minutes=1)  # tolerated between two machines that write to one project


def complete(subject: Subject) -> Iterator[Finding]:
    """The log begins with all events that were ever noted in its chain."""
    directory = tables_of(subject.store.project).directory
    for link in log_chain.unmatched(log_chain.read(directory), subject.events):
        missing = link.events - len(subject.events)
        problem = f"{missing} of the log's {link.events} events are missing"
        changed = f"the log's first {link.events} events are not those that were written"
        yield Finding(
            problem=problem if missing > 0 else changed,
            where=(str(directory / "events.lance"),),
            advice=f"{BACKUP}; to accept the log as it is, delete {directory / log_chain.FILE}",
        )


def event_ids(subject: Subject) -> Iterator[Finding]:
    """An id belongs to one event. The same event twice is harmless."""
    known: dict[str, Event] = {}
    ambiguous = {e.event_id for e in subject.events if known.setdefault(e.event_id, e) != e}
    if ambiguous:
        problem = f"{len(ambiguous)} event ids belong to several different events"
        yield Finding(problem=problem, where=tuple(sorted(ambiguous)), advice=BACKUP)


def events_of_samples(subject: Subject) -> Iterator[Finding]:
    """Every event is about a sample of the catalogue."""
    unknown = {e.sample_id for e in subject.events if not is_class_event(e)} - subject.known_ids
    if unknown:
        yield Finding(
            problem=f"{len(unknown)} samples of the log are not in the catalogue",
            where=tuple(sorted(unknown)),
            advice="import their images again: an id is a hash of the image's content, so the labels match again",
        )


def labels_are_classes(subject: Subject) -> Iterator[Finding]:
    """Every label is a class of the project."""
    project = subject.store.project
    history = class_history(subject.events)
    present = {c.name for c in history.classes} if history else set(project.classes)
    now = [with_present_name(e, history) for e in subject.events if e.kind is not Kind.CLASSES]
    unknown = sorted({e.label for e in now if e is not None and e.label is not None} - present)
    if unknown:
        yield Finding(
            problem=f"{len(unknown)} labels are not classes of the project",
            where=tuple(unknown),
            advice=f"add them with: {project.add_command(unknown)}",
        )


def classes_are_those_of_the_log(subject: Subject) -> Iterator[Finding]:
    """The project's file lists the classes that the log has, once these have changed."""
    unreadable = tuple(e.event_id for e in subject.events if e.kind is Kind.CLASSES and e.change is None)
    if unreadable:
        yield Finding(problem=f"{len(unreadable)} changes of classes cannot be read", where=unreadable, advice=BACKUP)
    project, history = subject.store.project, class_history(subject.events)
    if history and project.history == history and project.classes == tuple(c.name for c in history.classes):
        return
    if history or project.history:
        yield Finding(
            problem=f"{SETTINGS} has the classes {', '.join(project.classes)}, and the log has "
            f"{', '.join(c.name for c in history.classes) or 'no change of classes'}",
            where=(str(project.root / SETTINGS),),
            advice="run verify --repair, which writes the classes of the log to the file" if history else BACKUP,
            repair=(lambda: _write_classes(project, history)) if history else None,
        )


def references(subject: Subject) -> Iterator[Finding]:
    """An answer or a retraction refers to an event of the same sample that is in the log."""
    events = {e.event_id: e for e in subject.events}
    dangling = [
        e.event_id
        for e in subject.events
        if (e.ref is not None or e.kind is Kind.RETRACTED)
        and (e.ref not in events or events[e.ref].sample_id != e.sample_id)
    ]
    if dangling:
        problem = f"{len(dangling)} events refer to an event that is missing or of another sample"
        yield Finding(problem=problem, where=tuple(dangling), advice=BACKUP)


def order(subject: Subject) -> Iterator[Finding]:
    """Labels and open proposals do not depend on the order of the rows, nor on rows that are there twice."""
    events = subject.events
    shuffled = events + events[: len(events) // 2]
    random.Random(0).shuffle(shuffled)
    if replay(shuffled) != replay(events) or queue(shuffled) != queue(events):
        yield Finding(problem="the labels depend on the order of the log's rows", advice=BACKUP)


def times(subject: Subject) -> Iterator[Finding]:
    """No event is from the future, as after a clock was set back, or from a machine whose clock is ahead."""
    now = datetime.now(UTC) + CLOCK_SKEW
    ahead = [e for e in subject.events if e.at > now]
    if ahead:
        last = max(e.at for e in ahead)
        yield Finding(
            problem=f"{len(ahead)} events are from the future, the last one from {last:%Y-%m-%d %H:%M} UTC",
            where=tuple(e.event_id for e in ahead),
            advice="set this machine's clock right; nothing is lost, new events follow these in the log",
        )


def labels_of_runs(subject: Subject) -> Iterator[Finding]:
    """Every label that a run was trained with has been in the log."""
    history = class_history(subject.events)
    logged = {(e.sample_id, e.label) for e in subject.events}
    present = [(e, with_present_name(e, history)) for e in subject.events if e.label is not None and e.sample_id]
    logged |= {(e.sample_id, None if now is None else now.label) for e, now in present}
    for run in filter(uses_project_data, subject.runs):
        try:
            labels = run.labels()
        except ProjectError:
            continue  # `beginnings` reports it
        as_of = run.config().get(AS_OF)
        lost = sorted(
            i
            for i, label in labels.items()
            if (i, label) not in logged and (i, history.meaning_since(label, as_of).name) not in logged
        )
        if lost:
            yield Finding(
                problem=f"{len(lost)} labels that {run.name} was trained with are not in the log",
                where=tuple(lost),
                advice=f"{BACKUP}; without one, {run.path / 'labels.json'} still has these labels, sample by sample: "
                f"gradebook label {subject.store.project.root} --sample ID --label NAME",
            )


def _write_classes(project: Project, history: ClassHistory) -> None:
    write_classes(project, history)
