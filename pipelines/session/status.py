"""How far behind the labels a live session is. Loads no torch."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gradebook.pipelines.runs import Run
from gradebook.pipelines.session.lock import Phase, SessionState, live_session
from gradebook.pipelines.session.snapshots import Snapshot, read_snapshot
from gradebook.storage.events import Event, Kind, class_history, decided_labels
from gradebook.storage.project import Project


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveStatus:
    """A session that is live, and how far behind the labels it is."""

    session: SessionState
    snapshot: Snapshot
    behind: int  # samples whose label has changed since the snapshot

    @property
    def sentence(self) -> str:
        """The status as a sentence without its subject: "up to date with all your 37 labels"."""
        if self.session.phase is Phase.FINISHING:
            return "finishing"
        if self.session.phase is Phase.WAITING:
            return "waiting for labels of two classes"
        if not self.snapshot.number:
            return "training its first steps"
        if self.behind:
            return f"{self.behind} {'label' if self.behind == 1 else 'labels'} behind"
        if self.snapshot.labels == 1:
            return "up to date with your label"
        return f"up to date with all your {self.snapshot.labels} labels"

    @property
    def line(self) -> str:
        """The status as a whole sentence."""
        return f"{self.session.run or 'a session'} is live: {self.sentence}"

    def as_json(self) -> dict[str, Any]:
        """Returns the status as plain data."""
        session, snapshot = self.session.as_json(), asdict(self.snapshot)
        snapshot["snapshot"] = snapshot.pop("number")
        return {**session, **snapshot, "behind": self.behind, "status": self.sentence}


def live_status(project: Project, events: Sequence[Event]) -> LiveStatus | None:
    """Returns the status of the project's session; None if none is live.

    Args:
        project: the project.
        events: its log, in the order in which they were appended.
    """
    session = live_session(project)
    if session is None:
        return None
    snapshot = read_snapshot(Run(project.runs / session.run)) if session.run else Snapshot()
    return LiveStatus(session=session, snapshot=snapshot, behind=labels_behind(events, snapshot.events))


def labels_behind(events: Sequence[Event], known: int) -> int:
    """Returns how many samples have another label, or none any more, because of events after the first `known`."""
    touched = {e.sample_id for e in events[known:] if e.kind is not Kind.PROPOSED}
    if not touched:
        return 0
    history = class_history(events)
    before = decided_labels((e for e in events[:known] if e.sample_id in touched), history)
    after = decided_labels((e for e in events if e.sample_id in touched), history)
    missing = object()
    return sum(before.get(i, missing) != after.get(i, missing) for i in touched)
