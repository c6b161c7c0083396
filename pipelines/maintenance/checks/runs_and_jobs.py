"""The files of runs and jobs can be read, are complete, and agree with the processes that are running."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from gradebook.pipelines import runs
from gradebook.pipelines.jobs.launcher import JOB
from gradebook.pipelines.maintenance.checks.finding import Finding, Subject, has_settings, uses_project_data
from gradebook.pipelines.process.run_status import ACTIVE_STATES, STATUS, State, status_now, write_status
from gradebook.pipelines.runs import CHANGES, PREDICTIONS, Run
from gradebook.pipelines.training import checkpoints
from gradebook.pipelines.training.dataset import SAMPLES
from gradebook.pipelines.training.student import WEIGHTS


def runs_are_there(subject: Subject) -> Iterator[Finding]:
    """Every run of the record has its directory."""
    project, record = subject.store.project, subject.store.record
    for name in record.runs():
        path = project.runs / name
        if not path.is_dir():
            yield Finding(
                problem=f"the directory of {name} is missing; {record.rows(name)} rows of it are in the record",
                where=(str(path),),
                advice=f"restore it from a backup; deleted on purpose: gradebook forget {project.root} {path}",
            )


def settings(subject: Subject) -> Iterator[Finding]:
    """The settings of every run that has started can be read."""
    for run in subject.every_run:
        started = (run.path / runs.CONFIG).exists() or checkpoints.newest_step(run.path / "checkpoints") > 0
        if started and not has_settings(run):
            yield Finding(
                problem=f"the settings of {run.name} cannot be read",
                where=(str(run.path / runs.CONFIG),),
                advice="restore the file from a backup, or start the run again under another name",
            )


def status(subject: Subject) -> Iterator[Finding]:
    """The status of every run can be read, and a run that is marked as running has a process."""
    for run in subject.every_run:
        written = _object(run.path / STATUS)
        if written is None:
            yield Finding(
                problem=f"the status of {run.name} is missing or cannot be read",
                where=(str(run.path / STATUS),),
                advice="run verify --repair, which marks it as finished if its results are there, else as stopped at "
                "its last checkpoint",
                repair=partial(_write_status, run),
            )
        elif written.get("state") in ACTIVE_STATES and run.status().state not in ACTIVE_STATES:
            yield Finding(
                problem=f"{run.name} is marked as running, but its process is gone",
                where=(str(run.path / STATUS),),
                advice=f"resume it: {_resume_command(subject, run)}; or run verify --repair, which marks it as stopped",
                repair=partial(_mark_stopped, run),
            )


def beginnings(subject: Subject) -> Iterator[Finding]:
    """What a run started with can be read: samples of the catalogue, and labels of its classes."""
    for run in subject.runs:
        began, labels = _object(run.path / SAMPLES), _object(run.path / runs.LABELS)
        if began is None or labels is None or "sample_ids" not in began:
            yield Finding(
                problem=f"the samples or labels that {run.name} started with cannot be read",
                where=(str(run.path / SAMPLES), str(run.path / runs.LABELS)),
                advice="restore the files from a backup; without them the run cannot be resumed",
            )
        elif uses_project_data(run):
            samples = (set(began["sample_ids"]) | labels.keys()) - subject.known_ids
            classes = set(labels.values()) - set(run.config().get("classes", []))
            if samples or classes:
                yield Finding(
                    problem=f"{run.name} started with {len(samples)} samples that are not in the catalogue, "
                    f"and {len(classes)} labels that are not among its classes",
                    where=tuple(sorted(samples | classes)),
                    advice="import the missing images again: an id is a hash of the image's content",
                )


def endings(subject: Subject) -> Iterator[Finding]:
    """A finished run has its student, and predictions for every sample without a label."""
    for run in subject.runs:
        if run.status().state is not State.FINISHED:
            continue
        if bad := _missing_results(run):
            yield Finding(
                problem=f"{run.name} finished, but {' and '.join(bad)} are missing or incomplete",
                where=tuple(str(run.path / name) for name in bad),
                advice=f"make them again from its last checkpoint: "
                f"gradebook train {subject.store.project.root} --resume --run {run.name}",
            )


def checkpoints_load(subject: Subject) -> Iterator[Finding]:
    """Checkpoints are complete; with content every byte is checked."""
    for run in subject.runs:
        for path in checkpoints.list_checkpoints(run.path / "checkpoints"):
            if bad := checkpoints.damaged_files(path, content=subject.content):
                yield Finding(
                    problem=f"a checkpoint of {run.name} is corrupt: {', '.join(bad)}",
                    where=(str(path),),
                    advice="resume the run, which quarantines it and starts from the one before",
                )


def jobs_are_readable(subject: Subject) -> Iterator[Finding]:
    """The files that describe jobs can be read."""
    directories = [*(subject.store.project.root / "jobs").glob("*"), *(run.path for run in subject.every_run)]
    files = [directory / JOB for directory in directories if (directory / JOB).exists()]
    bad = [path for path in files if not {"command", "pid", "began"} <= (_object(path) or {}).keys()]
    if bad:
        yield Finding(
            problem=f"the files of {len(bad)} jobs cannot be read",
            where=tuple(map(str, bad)),
            advice="delete these files: a running job is not affected",
        )


def _resume_command(subject: Subject, run: Run) -> str:
    root = subject.store.project.root
    return f"gradebook session {root}" if run.is_session else f"gradebook train {root} --resume --run {run.name}"


def _write_status(run: Run) -> None:
    """Writes the status that the run's files show: finished if all results are there, else stopped."""
    planned = _planned_steps(run)
    if not _missing_results(run) and _reached_step(run) in (0, planned):
        message = "Its status was lost, but its results are complete."
        status = status_now(State.FINISHED, pid=0, step=planned, steps=planned, message=message)
        write_status(run.path, status)
    else:
        _mark_stopped(run)


def _mark_stopped(run: Run) -> None:
    done, planned = _reached_step(run), _planned_steps(run) or run.status().steps
    message = "Its process ended without a message." + (" It can be resumed." if done else "")
    write_status(run.path, status_now(State.STOPPED, pid=0, step=done, steps=planned, message=message))


def _reached_step(run: Run) -> int:
    return checkpoints.newest_step(run.path / "checkpoints")


def _planned_steps(run: Run) -> int:
    return int(run.config().get("steps", 0)) if has_settings(run) else 0


def _missing_results(run: Run) -> list[str]:
    complete = {PREDICTIONS: _has_predictions(run), WEIGHTS: _has_weights(run)}
    return [name for name, there in complete.items() if not there]


def _has_predictions(run: Run) -> bool:
    """Returns whether every sample has a label or a prediction, except those whose label changed meanwhile."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    began, labels = _object(run.path / SAMPLES) or {"sample_ids": []}, _object(run.path / runs.LABELS) or {}
    try:
        predicted = set(pq.read_table(run.path / PREDICTIONS, columns=["sample_id"])["sample_id"].to_pylist())
    except (OSError, pa.ArrowException):
        return False
    return set(began["sample_ids"]) - labels.keys() - predicted <= _relabelled(run)


def _relabelled(run: Run) -> set[str]:
    """Returns the samples whose labels changed while the run trained."""
    try:
        changes = json.loads((run.path / CHANGES).read_text(encoding="utf-8"))
        return {sample_id for change in changes for sample_id in change["labels"]}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _has_weights(run: Run) -> bool:
    """Returns whether the file of the student's weights is as long as its header says."""
    try:
        with (run.path / WEIGHTS).open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        tensors = [entry for name, entry in header.items() if name != "__metadata__"]
        last = max((entry["data_offsets"][1] for entry in tensors), default=0)
        return bool((run.path / WEIGHTS).stat().st_size == 8 + length + last)
    except (OSError, ValueError, KeyError, TypeError, MemoryError, OverflowError):
        return False


def _object(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
