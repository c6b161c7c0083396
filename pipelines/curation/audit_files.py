"""Audits of pseudo-labels on disk: `audits/ID.json`, and the images that each is about in `audits/ID.pool.json`."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from gradebook.storage.files import write_json
from gradebook.storage.project import Project, ProjectError

DIRECTORY = "audits"
ID = re.compile(r"[0-9a-f]{16}")
ACTOR = "audit:"  # before an audit's id: the actor of the labels that it accepted


class State(StrEnum):
    """The state of an audit."""

    OPEN = "open"  # it waits for answers
    ACCEPTED = "accepted"  # pseudo-labels were accepted
    REFUSED = "refused"  # the answers do not show that few enough are wrong
    CANCELLED = "cancelled"
    UNDONE = "undone"  # they were accepted, and this was undone


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The images of one statement: all classes together, or one class."""

    name: str  # the class, or ALL
    share: float  # probability with which each of them was drawn
    level: float  # error level of the statement
    sample_ids: tuple[str, ...]  # most confident first
    labels: tuple[str, ...]  # the pseudo-label of each
    probabilities: tuple[float, ...]  # of the pseudo-label

    def rows(self, rows: Sequence[int]) -> "Group":
        """Returns a group of some of the images."""
        return replace(
            self,
            sample_ids=tuple(self.sample_ids[k] for k in rows),
            labels=tuple(self.labels[k] for k in rows),
            probabilities=tuple(self.probabilities[k] for k in rows),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """An audit. What its groups have is read by `read_groups`."""

    audit_id: str
    at: str  # ISO 8601, UTC
    actor: str  # who began it
    run: str  # whose predictions are the pseudo-labels
    target: float  # share of wrong ones that is tolerated
    confidence: float
    seed: int
    attempt: int  # 1 for the first one, or after an acceptance
    drawn: tuple[str, ...]  # ids of the images to answer, in random order
    expected_wrong: float  # among the drawn ones, by the run's probabilities
    wrong: int = 0  # among the answers, once they are complete
    state: State = State.OPEN
    parts: tuple[dict[str, Any], ...] = ()  # the results for each part, once it is closed


ALL = "all classes"


def save(project: Project, audit: Audit, groups: list[Group]) -> None:
    """Writes a new audit: its images first, so that an audit is complete once it is listed."""
    directory = project.root / DIRECTORY
    directory.mkdir(exist_ok=True)
    write_json(directory / f"{audit.audit_id}.pool.json", [asdict(group) for group in groups])
    write_json(_path(project, audit.audit_id), asdict(audit))


def close(project: Project, audit: Audit, state: State, wrong: int, parts: Sequence[dict[str, Any]] = ()) -> Audit:
    """Writes the new state of an audit, and returns it."""
    closed = replace(audit, state=state, wrong=wrong, parts=tuple(parts))
    write_json(_path(project, audit.audit_id), asdict(closed))
    return closed


def list_audits(project: Project) -> list[Audit]:
    """Returns the audits, oldest first.

    Raises:
        ProjectError: one cannot be read.
    """
    return sorted(_audits(project), key=lambda audit: (audit.at, audit.audit_id))


def open_audit(project: Project) -> Audit | None:
    """Returns the audit that waits for answers, None if there is none."""
    return next((audit for audit in reversed(list_audits(project)) if audit.state is State.OPEN), None)


def read_groups(project: Project, audit: Audit) -> list[Group]:
    """Returns the groups of an audit.

    Raises:
        ProjectError: they cannot be read.
    """
    path = project.root / DIRECTORY / f"{audit.audit_id}.pool.json"
    return [Group(**_tuples(row)) for row in _read(path)]


def _audits(project: Project) -> Iterator[Audit]:
    for path in (project.root / DIRECTORY).glob("*.json"):
        if ID.fullmatch(path.stem):
            row = _read(path)
            try:
                yield Audit(**_tuples(row) | {"state": State(row["state"]), "audit_id": path.stem})
            except (TypeError, KeyError, ValueError) as error:
                raise _unread(path, error) from error


def _path(project: Project, audit_id: str) -> Path:
    return project.root / DIRECTORY / f"{audit_id}.json"


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unread(path, error) from error


def _unread(path: Path, error: Exception) -> ProjectError:
    return ProjectError(f"{path} cannot be read ({error}): restore it from a backup, or delete it and audit again")


def _tuples(row: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
