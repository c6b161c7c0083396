"""A run is one training. Its directory, `runs/NAME` of the project, has everything that other processes read.

    config.json           every setting, defaults included
    samples.json          the samples and labels with which it started
    labels.json           sample_id -> class name: the labels that it has read so far
    changes.json          labels that changed during the training, and the steps from which they were used
    metrics.jsonl         one JSON object a line: step, seconds, and the scalars that the method reports
    record/               outputs of teacher and student for every sample, in segments
    checkpoints/          to resume from
    student.safetensors   at the end: the student's weights
    predictions.parquet   at the end: the predictions of both networks for every unlabelled sample
    session.json          of a live session's run only: its numbers (`gradebook.pipelines.session.snapshots`)
    snapshots/            until a live session's run has finished: its newest results, one directory for each snapshot
    reading.npz           cached output of the feature classifier (`gradebook.pipelines.curation.feature_classifier`)
    reasons.arrow, reasons_given.arrow   cached reasons (`gradebook.pipelines.curation.reason_cache`)
    SHA256SUMS            checksums of the two results (`gradebook.storage.checksums`); record/ has its own
    status.json           the newest `Status`
    log.txt, owner.json   output; while it trains, the processes that do (`gradebook.pipelines.process.owner`)

Readers need no torch and never wait, because files are replaced atomically or grow by whole lines.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gradebook.pipelines.process.run_status import ACTIVE_STATES, STATUS, State, Status, read_status
from gradebook.storage import deleted_runs
from gradebook.storage.project import Project, ProjectError

CONFIG = "config.json"
LABELS = "labels.json"
CHANGES = "changes.json"
METRICS = "metrics.jsonl"
LOG = "log.txt"
PREDICTIONS = "predictions.parquet"
SESSION = "session.json"
SNAPSHOTS = "snapshots"
BEST = "best"  # instead of a run's name: the run with the highest validation accuracy


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Labels that changed during a training."""

    step: int  # number of steps done when the change took effect
    labels: dict[str, str | None]  # sample_id -> class name, None if the label was removed
    rejected: tuple[str, ...] = ()  # the rejected ones of these samples


@dataclass(frozen=True, slots=True)
class Run:
    """One run's directory."""

    path: Path
    pinned: Path | None = field(default=None, compare=False)  # the results to read; None for the newest

    @property
    def name(self) -> str:
        """The run's name, such as mpl-001."""
        return self.path.name

    def status(self) -> Status:
        """Returns the newest status; see `read_status`."""
        return read_status(self.path)

    @property
    def is_session(self) -> bool:
        """Whether a live session made the run (`gradebook.pipelines.session`)."""
        return (self.path / SESSION).exists()

    @property
    def is_live(self) -> bool:
        """Whether a live session is training the run, and replaces its snapshots."""
        return self.is_session and self.status().state in ACTIVE_STATES

    @property
    def has_results(self) -> bool:
        """Whether the run has predictions to read: it has finished, or is a session's and has a snapshot."""
        return self.status().state is State.FINISHED or (self.is_session and (self.results / PREDICTIONS).exists())

    @property
    def results(self) -> Path:
        """The directory with the run's results: its own, or that of its newest snapshot until it has finished.

        What reads more than one file should call `with_pinned_results` first, so that all are of one snapshot.
        """
        if self.pinned is not None:
            return self.pinned
        newest = max((self.path / SNAPSHOTS).glob("[0-9]*"), default=None)
        return self.path if newest is None or self.status().state is State.FINISHED else newest

    def with_pinned_results(self) -> "Run":
        """Returns the run with the results that it has now, also when a newer snapshot appears."""
        return replace(self, pinned=self.results)

    def config(self) -> dict[str, Any]:
        """Returns every setting of the run, {} before they are written."""
        return _read_object(self.path / CONFIG)

    def labels(self) -> dict[str, str]:
        """Returns the labels that the run has read so far: sample_id -> class name."""
        return _read_object(self.path / LABELS)

    def changes(self) -> list[Change]:
        """Returns the changes of labels that the run has made or planned, in order of steps."""
        try:
            rows = json.loads((self.path / CHANGES).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return []
        return [Change(step=r["step"], labels=r["labels"], rejected=tuple(r.get("rejected", ()))) for r in rows]

    def metrics(self) -> list[dict[str, Any]]:
        """Returns the scalars of each reported step, in order of steps.

        A line that a kill cut short is skipped. If a resumed run reports steps again, the newer rows replace the older
        ones. Successive rows of the same step are merged.
        """
        try:
            lines = (self.path / METRICS).read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return []
        rows: list[dict[str, Any]] = []
        for row in filter(None, map(_parsed_line, lines)):
            while rows and rows[-1]["step"] > row["step"]:
                rows.pop()
            if rows and rows[-1]["step"] == row["step"]:
                row = rows.pop() | row
            rows.append(row)
        return rows


def list_runs(project: Project) -> list[Run]:
    """Returns the project's runs, oldest first."""
    if not project.runs.is_dir():
        return []
    started = {path: _start_time(path) for path in project.runs.glob("[!.]*")}
    return [Run(path) for path in sorted((p for p in started if started[p]), key=lambda p: (started[p], p.name))]


def find_run(project: Project, name: str | None) -> Run:
    """Returns the run of that name; without a name what `newest_finished` returns, or else the newest run.

    The name `best` stands for the finished run with the highest validation accuracy (the newest if there are several),
    unless a run has that name.

    Raises:
        ProjectError: there is no such run.
    """
    runs = list_runs(project)
    if not runs:
        raise ProjectError(f"{project.root} has no run yet: start one with: gradebook train {project.root}")
    if name is None:
        return newest_finished(project) or runs[-1]
    for run in runs:
        if run.name == name:
            return run
    if name == BEST:
        return _best_run(project, runs)
    if (gone := deleted_runs.read(project).get(name)) is not None:
        raise ProjectError(f"{gone.sentence}: choose one of {', '.join(r.name for r in runs)}")
    raise ProjectError(f"there is no run {name!r} in {project.root}: choose one of {', '.join(r.name for r in runs)}")


def validation_accuracy(run: Run) -> float | None:
    """Returns the newest validation accuracy of a run, None if it has no validation images or has not measured it."""
    measured = [row["validation_accuracy"] for row in run.metrics() if row.get("validation_accuracy") is not None]
    return float(measured[-1]) if measured else None


def _best_run(project: Project, runs: Sequence[Run]) -> Run:
    """Returns the finished run with the highest validation accuracy; test images must not be used to choose."""
    scores = [(validation_accuracy(run), run) for run in runs if run.has_results]
    measured = [(score, run) for score, run in scores if score is not None]
    if not measured:
        raise ProjectError(
            f"no finished run of {project.root} has a validation accuracy to choose by: give --run NAME, or train with "
            "a --validation-share"
        )
    return max(reversed(measured), key=lambda pair: pair[0])[1]


def new_run_name(project: Project, method: str) -> str:
    """Returns a name that no run has or had: the method and the next number, such as mpl-001."""
    names = [*(path.name for path in project.runs.glob("*")), *deleted_runs.read(project)]
    numbers = [int(m[1]) for m in (re.fullmatch(rf"{re.escape(method)}-(\d+)", name) for name in names) if m]
    return f"{method}-{max(numbers, default=0) + 1:03d}"


def append_metrics(path: Path, row: Mapping[str, Any]) -> None:
    """Appends a row, which must have a `step`, to the metrics of the run in the directory `path`."""
    line = (json.dumps({"step": int(row["step"]), **row}) + "\n").encode()
    with (path / METRICS).open("ab+") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else b"\n" + line  # after a kill the last line may be incomplete
        file.write(line)


def _parsed_line(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None


def _read_object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ProjectError(f"{path} cannot be read ({error}): start the run again under another name") from error
    if not isinstance(value, dict):
        raise ProjectError(f"{path} is not a JSON object: start the run again under another name")
    return value


def _start_time(path: Path) -> int:
    """Returns when a run wrote its settings, in nanoseconds since 1970, or 0 if `path` is not a run."""
    for name in (CONFIG, STATUS):
        try:
            return (path / name).stat().st_mtime_ns
        except (FileNotFoundError, NotADirectoryError):
            continue
    return 0


def newest_finished(project: Project) -> Run | None:
    """Returns the newest finished run, None if there is none.

    A run of a live session counts as finished once it has a snapshot, and as the newest while the session is live.
    """
    finished = [run for run in list_runs(project) if run.has_results]
    live = [run for run in finished if run.is_live]
    return (live or finished)[-1] if finished else None
