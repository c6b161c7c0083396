"""The event log for people: who decided or proposed what for which sample, and when."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.reporting.sample_history import find_sample
from gradebook.storage.events import Event, Kind, in_order, retracted
from gradebook.storage.project import ProjectError

if TYPE_CHECKING:
    from gradebook.storage.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One event of the log, with what became of it."""

    event: Event
    filepath: str  # of the sample; empty where the catalogue does not have it
    undone_by: str | None  # the event that takes it back, if one does

    def as_json(self) -> dict[str, Any]:
        """Returns it as plain data."""
        said = {name: getattr(self.event, name) for name in Event.__slots__}
        plain = {"at": self.event.at.isoformat(), "kind": str(self.event.kind), "reasons": dict(self.event.reasons)}
        return said | plain | {"filepath": self.filepath, "undone_by": self.undone_by}


def read_audit_log(
    store: "Store", sample: str | None = None, *, actor: str | None = None, limit: int | None = None
) -> list[Row]:
    """Returns the events of the log, newest first.

    Args:
        store: the project.
        sample: only what was said of this sample, given by its id or the path of one of its files.
        actor: only what this person, import or run said.
        limit: events at most.

    Raises:
        ProjectError: there is no such sample, or nobody of that name has said anything.
    """
    rows = in_order(store.log.read())
    if actor is not None and actor not in {e.actor for e in rows}:
        names = ", ".join(sorted({e.actor for e in rows})) or "nobody"
        raise ProjectError(f"{actor!r} has said nothing in {store.project.root}: those who have are {names}")
    gone = retracted(rows)
    sample_id = None if sample is None else find_sample(store, sample)
    chosen = [e for e in reversed(rows) if sample_id in (None, e.sample_id) and actor in (None, e.actor)][:limit]
    known = set(store.catalog.ids())
    ids = sorted({e.sample_id for e in chosen} & known)
    paths = {s.sample_id: s.filepath for s in store.catalog.get(ids)}
    return [
        Row(
            event=e,
            filepath=paths.get(e.sample_id, ""),
            undone_by=by.event_id if (by := gone.get(e.event_id)) else None,
        )
        for e in chosen
    ]


def audit_log_table(rows: list[Row]) -> str:
    """Returns the rows for people, a line an event."""
    if not rows:
        return "Nobody has said anything yet."
    lines = []
    for row in rows:
        e = row.event
        said = f"{e.kind}{'' if e.label is None else f' {e.label}'}" + (
            f" ({e.ref})" if e.kind is Kind.RETRACTED else ""
        )
        undone = " [undone]" if row.undone_by else ""
        name = Path(row.filepath).name if row.filepath else e.sample_id
        lines.append(f"{e.at:%Y-%m-%d %H:%M:%S}  {e.actor:<16} {said:<28} {name}{undone}  {e.event_id}")
    return "\n".join(lines)
