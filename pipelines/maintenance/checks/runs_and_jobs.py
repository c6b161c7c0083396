"""Runs and jobs: what each directory says of itself is readable, whole, and true of the processes that are there."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from gradebook.pipelines import runs
from gradebook.pipelines.jobs.launcher import JOB
from gradebook.pipelines.maintenance.checks.finding import Finding, Subject, has_settings
from gradebook.pipelines.runs import ACTIVE_STATES, PREDICTIONS, STATUS, Run, State
from gradebook.pipelines.training import checkpoints
from gradebook.pipelines.training.dataset import SAMPLES
from gradebook.pipelines.training.student import WEIGHTS

CHANGES = "changes.json"  # of the labels, while it trained


def settings(subject: Subject) -> Iterator[Finding]:
    """A run's settings can be read; one that has checkpoints or an end has settings."""
    for run in subject.every_run:
        begun = (run.path / runs.CONFIG).exists() or checkpoints.newest_step(run.path / "checkpoints") > 0
        if begun and not has_settings(run):
            yield Finding(
                what=f"the settings of {run.name} cannot be read",
                where=(str(run.path / runs.CONFIG),),
                mend="restore the file from a backup, or start the run again under another name",
            )


def status(subject: Subject) -> Iterator[Finding]:
    """A run's status can be read, and one that says that it goes on has a process."""
    for run in subject.every_run:
        said = _object(run.path / STATUS)
        if said is None and (run.path / STATUS).exists():
            yield Finding(
                what=f"the status of {run.name} cannot be read",
                where=(str(run.path / STATUS),),
                mend="verify with --mend, which says that it stopped at its last checkpoint",
                mending=partial(_mark_stopped, run, 0),
            )
        elif said is not None and said.get("state") in ACTIVE_STATES and run.status().state not in ACTIVE_STATES:
            yield Finding(
                what=f"{run.name} says that it goes on, but its process is gone",
                where=(str(run.path / STATUS),),
                mend=f"go on with: gradebook train {subject.store.project.root} --resume --run {run.name}; "
                "or verify with --mend, which says that it stopped",
                mending=partial(_mark_stopped, run, int(said.get("steps", 0))),
            )


def beginnings(subject: Subject) -> Iterator[Finding]:
    """What a run began with can be read: its samples are in the catalogue, its labels among its classes."""
    for run in subject.runs:
        began, labels = _object(run.path / SAMPLES), _object(run.path / runs.LABELS)
        if began is None or labels is None or "sample_ids" not in began:
            yield Finding(
                what=f"what {run.name} began with cannot be read",
                where=(str(run.path / SAMPLES), str(run.path / runs.LABELS)),
                mend="restore the files from a backup; without them the run cannot be resumed",
            )
        elif _of_project(run):
            strangers = (set(began["sample_ids"]) | labels.keys()) - subject.known
            other = set(labels.values()) - set(run.config().get("classes", []))
            if strangers or other:
                yield Finding(
                    what=f"{run.name} began with {len(strangers)} samples that the catalogue does not have, "
                    f"and {len(other)} labels that are none of its classes",
                    where=tuple(sorted(strangers | other)),
                    mend="import the missing images again: an id is a hash of the image's content",
                )


def endings(subject: Subject) -> Iterator[Finding]:
    """A run that finished has its student and what both think of every sample without a label."""
    for run in subject.runs:
        if run.status().state is not State.FINISHED:
            continue
        bad = [name for name, whole in ((PREDICTIONS, _has_predictions(run)), (WEIGHTS, _is_whole(run))) if not whole]
        if bad:
            yield Finding(
                what=f"{run.name} finished, but {' and '.join(bad)} are not whole",
                where=tuple(str(run.path / name) for name in bad),
                mend=f"make them again from its last checkpoint: "
                f"gradebook train {subject.store.project.root} --resume --run {run.name}",
            )


def checkpoints_load(subject: Subject) -> Iterator[Finding]:
    """Checkpoints are whole; with content each byte is checked."""
    for run in subject.runs:
        for path in checkpoints.list_checkpoints(run.path / "checkpoints"):
            if bad := checkpoints.damaged_files(path, content=subject.content):
                yield Finding(
                    what=f"a checkpoint of {run.name} is damaged: {', '.join(bad)}",
                    where=(str(path),),
                    mend="resume the run, which puts it aside and goes on from the one before",
                )


def jobs_are_readable(subject: Subject) -> Iterator[Finding]:
    """What is known of a job can be read."""
    places = [*(subject.store.project.root / "jobs").glob("*"), *(run.path for run in subject.every_run)]
    bad = [
        path / JOB for path in places if (path / JOB).exists() and not {"command", "pid", "began"} <= _keys(path / JOB)
    ]
    if bad:
        yield Finding(
            what=f"{len(bad)} jobs cannot be read",
            where=tuple(map(str, bad)),
            mend="delete these files: a job that runs goes on",
        )


def _mark_stopped(run: Run, steps: int) -> None:
    done = checkpoints.newest_step(run.path / "checkpoints")
    said = "Its process ended without a word." + (" It can be resumed." if done else "")
    planned = steps or (int(run.config().get("steps", 0)) if has_settings(run) else 0)
    runs.write_status(run.path, runs.status_now(State.STOPPED, pid=0, step=done, steps=planned, message=said))


def _of_project(run: Run) -> bool:
    data = run.config().get("data")
    return not isinstance(data, dict) or data.get("kind", "project") == "project"


def _has_predictions(run: Run) -> bool:
    """Returns whether every sample has a label or a prediction, but for those whose label came and went meanwhile."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    began, labels = _object(run.path / SAMPLES) or {"sample_ids": []}, _object(run.path / runs.LABELS) or {}
    try:
        predicted = set(pq.read_table(run.path / PREDICTIONS, columns=["sample_id"])["sample_id"].to_pylist())
    except (OSError, pa.ArrowException):
        return False
    return set(began["sample_ids"]) - labels.keys() - predicted <= _changed(run)


def _changed(run: Run) -> set[str]:
    """Returns the samples whose labels came or went while the run trained."""
    try:
        changes = json.loads((run.path / CHANGES).read_text(encoding="utf-8"))
        return {sample_id for change in changes for sample_id in change["labels"]}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _is_whole(run: Run) -> bool:
    """Returns whether the file of the student's weights is as long as its header says."""
    try:
        with (run.path / WEIGHTS).open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        last = max((told["data_offsets"][1] for name, told in header.items() if name != "__metadata__"), default=0)
        return bool((run.path / WEIGHTS).stat().st_size == 8 + length + last)
    except (OSError, ValueError, KeyError, TypeError, MemoryError, OverflowError):
        return False


def _object(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _keys(path: Path) -> set[str]:
    return set(_object(path) or {})
