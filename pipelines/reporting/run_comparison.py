"""A comparison of a project's runs: method, labels, progress and accuracy of each."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from gradebook.pipelines.runs import CONFIG, Run, list_runs, validation_accuracy
from gradebook.storage.files import write_json
from gradebook.storage.project import Project, ProjectError

EVALUATION = "evaluation.json"  # the newest evaluation on the test split


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One run."""

    run: str
    method: str  # empty before the run has started
    preset: str
    labels: int  # labels that it has read, including validation labels
    step: int
    steps: int
    state: str
    validation_accuracy: float | None  # the newest; None without a validation split or before the first evaluation
    test_accuracy: float | None  # None if the run was not evaluated on the test split
    test_images: int | None
    started: str | None  # ISO 8601, UTC

    def as_json(self) -> dict[str, Any]:
        """Returns the row as a JSON object."""
        return asdict(self)


def compare(project: Project) -> list[Row]:
    """Returns the runs, oldest first. Values that cannot be read from a run's files are left empty."""
    return [_row(run) for run in list_runs(project)]


def save_evaluation(run: Run, result: dict[str, Any]) -> None:
    """Saves the result of an evaluation on the test split in the run's folder, for `compare`.

    Raises:
        OSError: the folder cannot be written to.
    """
    kept = {name: result[name] for name in ("on", "accuracy", "n", "ece")}
    write_json(run.path / EVALUATION, kept | {"baseline": result.get("baseline")})


def runs_table(rows: Sequence[Row]) -> str:
    """Returns the runs as text, one line each."""
    if not rows:
        return "No run yet."
    lines = [f"{'run':<24} {'labels':>6} {'steps':>13}  {'state':<9} {'validation':>10} {'test':>14}  started"]
    for row in rows:
        tested = _percent(row.test_accuracy) + (f" of {row.test_images}" if row.test_images else "")
        lines.append(
            f"{row.run:<24} {row.labels:>6} {f'{row.step} of {row.steps}':>13}  {row.state:<9} "
            f"{_percent(row.validation_accuracy):>10} {tested:>14}  {(row.started or '')[:16].replace('T', ' ')}"
        )
    return "\n".join(lines)


def _row(run: Run) -> Row:
    config, evaluation, status = _read_or_empty(run.config), _evaluation(run), run.status()
    return Row(
        run=run.name,
        method=str(config.get("method", "")),
        preset=str(config.get("preset", "")),
        labels=len(_read_or_empty(run.labels)),
        step=status.step,
        steps=status.steps,
        state=str(status.state),
        validation_accuracy=validation_accuracy(run),
        test_accuracy=evaluation.get("accuracy"),
        test_images=evaluation.get("n"),
        started=_started(run),
    )


def _read_or_empty(read: Any) -> dict[str, Any]:
    try:
        value: dict[str, Any] = read()
    except ProjectError:
        return {}
    return value


def _evaluation(run: Run) -> dict[str, Any]:
    try:
        result = json.loads((run.path / EVALUATION).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return result if isinstance(result, dict) else {}


def _started(run: Run) -> str | None:
    """Returns when the run's config was written, which happens once."""
    try:
        seconds = (run.path / CONFIG).stat().st_mtime
    except OSError:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"
