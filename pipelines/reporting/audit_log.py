"""The audit log: who decided or proposed what for which sample, and when."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.reporting.sample_history import find_sample
from gradebook.storage import deleted_runs
from gradebook.storage.characters import escaped
from gradebook.storage.events import Event, Kind, in_order, retracted
from gradebook.storage.project import ProjectError

if TYPE_CHECKING:
    from gradebook.storage.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One event of the log, the path of its sample, and whether it was undone."""

    event: Event
    filepath: str  # of the sample; empty if the catalogue lacks it
    undone_by: str | None  # the event that retracts it
    run_deleted: bool = False  # whether its actor is a run that was deleted since

    def as_json(self) -> dict[str, Any]:
        """Returns the row as a JSON object."""
        fields = {name: getattr(self.event, name) for name in Event.__slots__}
        plain = {"at": self.event.at.isoformat(), "kind": str(self.event.kind), "reasons": dict(self.event.reasons)}
        rest: dict[str, Any] = {"filepath": self.filepath, "undone_by": self.undone_by}
        if self.run_deleted:
            rest["run_deleted"] = True
        return fields | plain | rest


def read_audit_log(
    store: "Store", sample: str | None = None, *, actor: str | None = None, limit: int | None = None
) -> list[Row]:
    """Returns the events of the log, newest first.

    Args:
        store: the project.
        sample: only the events of this sample, given by its id or the path of one of its files.
        actor: only the events of this person, import or run.
        limit: maximum number of events.

    Raises:
        ProjectError: there is no such sample, or no actor of that name.
    """
    rows = in_order(store.log.read())
    if actor is not None and actor not in {e.actor for e in rows}:
        names = ", ".join(sorted({e.actor for e in rows})) or "none"
        raise ProjectError(f"there is no actor {actor!r} in the log of {store.project.root}: choose one of {names}")
    retractions = retracted(rows)
    sample_id = None if sample is None else find_sample(store, sample)
    chosen = [e for e in reversed(rows) if sample_id in (None, e.sample_id) and actor in (None, e.actor)][:limit]
    known, gone = set(store.catalog.ids()), {f"run:{name}" for name in deleted_runs.read(store.project)}
    ids = sorted({e.sample_id for e in chosen} & known)
    paths = {s.sample_id: s.filepath for s in store.catalog.get(ids)}
    return [
        Row(
            event=e,
            filepath=paths.get(e.sample_id, ""),
            undone_by=by.event_id if (by := retractions.get(e.event_id)) else None,
            run_deleted=e.actor in gone,
        )
        for e in chosen
    ]


def audit_log_table(rows: list[Row]) -> str:
    """Returns the rows as text, one line per event."""
    if not rows:
        return "No events yet."
    lines = []
    for row in rows:
        e = row.event
        change = e.change
        what = e.label if change is None else change.describe()
        action = f"{e.kind}{'' if what is None else f' {what}'}" + (f" ({e.ref})" if e.kind is Kind.RETRACTED else "")
        undone = " [undone]" if row.undone_by else ""
        name = escaped(Path(row.filepath).name if row.filepath else e.sample_id)
        actor = f"{e.actor} (deleted)" if row.run_deleted else e.actor
        lines.append(f"{e.at:%Y-%m-%d %H:%M:%S}  {actor:<16} {escaped(action):<28} {name}{undone}  {e.event_id}")
    return "\n".join(lines)
