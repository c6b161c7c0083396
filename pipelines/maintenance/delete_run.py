"""`gradebook delete-run` deletes a run's directory and its rows of the record. Labels stay in the log."""

import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.curation.leases import turn
from gradebook.pipelines.process.owner import check_unowned
from gradebook.pipelines.process.run_status import ACTIVE_STATES
from gradebook.pipelines.runs import Run, list_runs
from gradebook.storage import deleted_runs
from gradebook.storage.project import Project, ProjectError

if TYPE_CHECKING:
    from gradebook.storage.store import Store

STARTS_FROM = ("start", "distributions")  # settings of a run that name another one


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """A run that was, or is to be, deleted."""

    run: str
    files: int
    bytes: int
    references: list[str]  # what names the run, one sentence each without a full stop
    deleted: bool

    def as_json(self) -> dict[str, Any]:
        """Returns it as plain data."""
        return asdict(self)


def plan(store: "Store", name: str) -> Deletion:
    """Returns what deleting a run would delete, and what would still name it. Changes nothing.

    Raises:
        ProjectError: there is no such run, it trains, or its directory is not the project's own.
    """
    path = _path(store.project, name)
    files = [Path(directory) / file for directory, _, names in os.walk(path) for file in names]
    return Deletion(
        run=name,
        files=len(files),
        bytes=sum(file.lstat().st_size for file in files),
        references=_references(store, name),
        deleted=False,
    )


def delete(store: "Store", name: str, *, actor: str) -> Deletion:
    """Deletes a run. A call that was killed is completed by the next one.

    Raises:
        ProjectError: as `plan`.
    """
    project = store.project
    planned = plan(store, name)
    with turn(project):
        deleted_runs.add(project, name, actor)
        path, hidden = _path(project, name), _hidden(project, name)
        if path != hidden:
            path.rename(hidden)
    store.record.forget(name)
    shutil.rmtree(hidden)  # does not follow links: it removes the link itself
    return Deletion(**asdict(planned) | {"deleted": True})


def describe(result: Deletion) -> str:
    """Returns the result as text."""
    size = f"{result.files} files, {result.bytes / 1e6:.1f} MB"
    head = f"deleted {result.run} ({size})" if result.deleted else f"{result.run} has {size}"
    return "\n".join([head, *result.references])


def _path(project: Project, name: str) -> Path:
    """Returns the directory of a run that can be deleted."""
    hidden = _hidden(project, name) if _is_plain(name) else None
    if hidden is not None and hidden.is_dir() and not (project.runs / name).exists():
        return hidden  # a deletion that was killed
    run = next((run for run in list_runs(project) if run.name == name), None)
    if run is None:
        gone = deleted_runs.read(project).get(name)
        names = ", ".join(other.name for other in list_runs(project)) or "none is left"
        raise ProjectError(
            f"{gone.sentence}: there is nothing left of it to delete"
            if gone
            else f"there is no run {name!r} in {project.root}: give the name of one, without its path: {names}"
        )
    if run.path.is_symlink() or run.path.parent != project.runs or project.runs.is_symlink():
        raise ProjectError(f"{run.path} is a link and not a directory of this project: delete the link yourself")
    _check_idle(run)
    return run.path


def _check_idle(run: Run) -> None:
    if run.is_live:
        raise ProjectError(f"a live session trains {run.name}: end it first, with gradebook session --stop")
    if run.status().state in ACTIVE_STATES:
        raise ProjectError(f"{run.name} is training: stop it first, or wait for it")
    check_unowned(run.path)


def _is_plain(name: str) -> bool:
    return bool(name) and name not in (".", "..") and not {"/", "\\", "\0"} & set(name)


def _hidden(project: Project, name: str) -> Path:
    return project.runs / f".{name}.deleted"


def _references(store: "Store", name: str) -> list[str]:
    """Returns the files and events outside a run's directory that name it."""
    references = []
    proposals = sum(e.actor == f"run:{name}" for e in store.log.read())
    if proposals:
        references.append(f"{proposals} proposals in the log are its predictions; they stay, and so do the labels")
    for run in list_runs(store.project):
        config = run.config() if run.name != name else {}
        if any(config.get(key) == name for key in STARTS_FROM):
            references.append(f"{run.name} began from it, and can no longer be repeated from the start")
    for card in sorted((store.project.root / "exports").glob("*/README.md")):
        if not card.is_symlink() and name in card.read_text(encoding="utf-8", errors="replace"):
            references.append(f"{card.parent} is an export of it, and stays")
    return references
