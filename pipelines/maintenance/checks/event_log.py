"""The event log is complete, refers to what exists, and means the same in any order."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from gradebook.pipelines.maintenance.checks.finding import Finding, Subject, uses_project_data
from gradebook.storage import log_chain
from gradebook.storage.events import Event, Kind, queue, replay
from gradebook.storage.project import ProjectError
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
    unknown = {e.sample_id for e in subject.events} - subject.known_ids
    if unknown:
        yield Finding(
            problem=f"{len(unknown)} samples of the log are not in the catalogue",
            where=tuple(sorted(unknown)),
            advice="import their images again: an id is a hash of the image's content, so the labels match again",
        )


def labels_are_classes(subject: Subject) -> Iterator[Finding]:
    """Every label is a class of the project."""
    project = subject.store.project
    unknown = sorted({e.label for e in subject.events if e.label is not None} - set(project.classes))
    if unknown:
        yield Finding(
            problem=f"{len(unknown)} labels are not classes of the project",
            where=tuple(unknown),
            advice=f"add them with: {project.add_command(unknown)}",
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
    logged = {(e.sample_id, e.label) for e in subject.events}
    for run in filter(uses_project_data, subject.runs):
        try:
            labels = run.labels()
        except ProjectError:
            continue  # `beginnings` reports it
        lost = sorted(sample_id for sample_id, label in labels.items() if (sample_id, label) not in logged)
        if lost:
            yield Finding(
                problem=f"{len(lost)} labels that {run.name} was trained with are not in the log",
                where=tuple(lost),
                advice=f"{BACKUP}; without one, {run.path / 'labels.json'} still has these labels, sample by sample: "
                f"gradebook label {subject.store.project.root} --sample ID --label NAME",
            )
