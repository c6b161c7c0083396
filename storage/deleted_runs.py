"""The runs that were deleted from a project: what still names one can say so, and no other run gets its name."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from gradebook.storage.files import write_json
from gradebook.storage.project import Project, ProjectError

FILE = "deleted_runs.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletedRun:
    """A run that is no longer there."""

    name: str
    at: str  # ISO 8601, UTC
    actor: str  # who deleted it

    @property
    def sentence(self) -> str:
        """Returns who deleted the run and when, without a full stop."""
        return f"{self.name} was deleted on {self.at[:10]} by {self.actor}"


def read(project: Project) -> dict[str, DeletedRun]:
    """Returns the deleted runs by name.

    Raises:
        ProjectError: the file that lists them cannot be read.
    """
    path = project.root / FILE
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return {str(row["name"]): DeletedRun(**row) for row in rows}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ProjectError(f"{path} cannot be read ({error}): restore it from a backup, or delete it") from error


def add(project: Project, name: str, actor: str) -> DeletedRun:
    """Adds a run that is about to be deleted."""
    run = DeletedRun(name=name, at=datetime.now(UTC).isoformat(timespec="seconds"), actor=actor)
    write_json(project.root / FILE, [asdict(row) for row in (read(project) | {name: run}).values()])
    return run
