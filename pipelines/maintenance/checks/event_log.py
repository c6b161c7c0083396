"""The log: who said what is whole, names what exists, and means the same in any order."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from gradebook.pipelines.maintenance.checks.finding import Finding, Subject
from gradebook.storage.events import Event, Kind, queue, replay

BACKUP = "restore lance/events.lance from a backup"
CLOCK_SKEW = timedelta(minutes=1)  # between two machines that write to one project; more is no accident


def event_ids(subject: Subject) -> Iterator[Finding]:
    """An id stands for one event. The same event twice says nothing new and is none of this."""
    known: dict[str, Event] = {}
    torn = {e.event_id for e in subject.events if known.setdefault(e.event_id, e) != e}
    if torn:
        yield Finding(what=f"{len(torn)} ids stand for different events", where=tuple(sorted(torn)), mend=BACKUP)


def events_of_samples(subject: Subject) -> Iterator[Finding]:
    """Every event is about a sample of the catalogue."""
    strangers = {e.sample_id for e in subject.events} - subject.known
    if strangers:
        yield Finding(
            what=f"the log speaks of {len(strangers)} samples that the catalogue does not have",
            where=tuple(sorted(strangers)),
            mend="import their images again: an id is a hash of the image's content, so the labels find them",
        )


def labels_are_classes(subject: Subject) -> Iterator[Finding]:
    """Every label is a class of the project."""
    project = subject.store.project
    unknown = sorted({e.label for e in subject.events if e.label is not None} - set(project.classes))
    if unknown:
        yield Finding(
            what=f"{len(unknown)} labels are no classes of the project",
            where=tuple(unknown),
            mend=f"add them with: {project.add_command(unknown)}",
        )


def references(subject: Subject) -> Iterator[Finding]:
    """An answer or a retraction refers to an event of the same sample that is in the log."""
    events = {e.event_id: e for e in subject.events}
    loose = [
        e.event_id
        for e in subject.events
        if (e.ref is not None or e.kind is Kind.RETRACTED)
        and (e.ref not in events or events[e.ref].sample_id != e.sample_id)
    ]
    if loose:
        yield Finding(what=f"{len(loose)} events refer to no event of their sample", where=tuple(loose), mend=BACKUP)


def order(subject: Subject) -> Iterator[Finding]:
    """Labels and open proposals are the same whatever the order of the rows, and if some stand twice."""
    events = subject.events
    shuffled = events + events[: len(events) // 2]
    random.Random(0).shuffle(shuffled)
    if replay(shuffled) != replay(events) or queue(shuffled) != queue(events):
        yield Finding(what="the labels depend on the order of the log's rows", mend=BACKUP)


def times(subject: Subject) -> Iterator[Finding]:
    """No event is from the future: a clock was set back since, or another machine's is ahead."""
    now = datetime.now(UTC) + CLOCK_SKEW
    ahead = [e for e in subject.events if e.at > now]
    if ahead:
        last = max(e.at for e in ahead)
        yield Finding(
            what=f"{len(ahead)} events are from the future, the last one from {last:%Y-%m-%d %H:%M} UTC",
            where=tuple(e.event_id for e in ahead),
            mend="set this machine's clock right; nothing is lost, new events follow these in the log",
        )
