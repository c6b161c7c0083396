"""Snapshots: what the model of a live session predicts at a moment, and which labels it knows. Loads no torch.

A snapshot replaces files of the session's run, each as a whole: the predictions, the student, the reasons, and
changed.json, the images whose predicted class is new. Last comes session.json, with the snapshot's number.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gradebook.pipelines.runs import SESSION, Run
from gradebook.pipelines.session.lock import Phase, SessionState, live_session
from gradebook.storage.events import Event, Kind, decided_labels
from gradebook.storage.files import write_json
from gradebook.storage.project import Project

CHANGED = "changed.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A snapshot in numbers."""

    number: int = 0  # from 1; 0 before the first
    step: int = 0  # steps done
    labels: int = 0  # that the classifier was fitted to
    events: int = 0  # of the log, from its first, that are taken into account
    accuracy: float | None = None  # of the classifier without the student, cross-validated on the labels
    agreement: float | None = None  # share of the images without a label that student and teacher put in one class
    changed: int = 0  # images whose predicted class differs from that of the snapshot before
    taken: str = ""  # ISO 8601, UTC


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedPrediction:
    """An image whose predicted class differs from that of the snapshot before."""

    sample_id: str
    before: str
    after: str


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
    before = decided_labels(e for e in events[:known] if e.sample_id in touched)
    after = decided_labels(e for e in events if e.sample_id in touched)
    missing = object()
    return sum(before.get(i, missing) != after.get(i, missing) for i in touched)


def read_snapshot(run: Run) -> Snapshot:
    """Returns the newest snapshot of a session's run; number 0 before the first."""
    try:
        row = json.loads((run.path / SESSION).read_text(encoding="utf-8"))
        return Snapshot(**{name: row[name] for name in Snapshot.__dataclass_fields__})
    except (OSError, ValueError, KeyError, TypeError):
        return Snapshot()


def write_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Writes the numbers of a snapshot into the run's directory `path`, which makes it the newest one."""
    write_json(path / SESSION, asdict(snapshot))


def read_changed(run: Run) -> list[ChangedPrediction]:
    """Returns the images whose predicted class changed with the newest snapshot; empty if none did."""
    try:
        rows = json.loads((run.path / CHANGED).read_text(encoding="utf-8"))
        return [ChangedPrediction(sample_id=i, before=before, after=after) for i, before, after in rows]
    except (OSError, ValueError, TypeError):
        return []


def write_changed(path: Path, changed: Sequence[ChangedPrediction]) -> None:
    """Writes the images whose predicted class changed into the run's directory `path`."""
    write_json(path / CHANGED, [[row.sample_id, row.before, row.after] for row in changed])
