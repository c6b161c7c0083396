"""A project's runs side by side: how each learned, from how many labels, how far it is and how good."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from gradebook.pipelines.runs import CONFIG, Run, list_runs, validation_accuracy
from gradebook.storage.files import write_json
from gradebook.storage.project import Project, ProjectError

EVALUATION = "evaluation.json"  # of a run on the test split, the newest


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One run."""

    run: str
    method: str  # empty where the run has not begun
    preset: str
    labels: int  # that it has read, those held out for validation among them
    step: int
    steps: int
    state: str
    validation_accuracy: float | None  # the newest; None where nothing was held out or measured
    test_accuracy: float | None  # None where it was not evaluated on the test split
    test_images: int | None
    started: str | None  # ISO 8601, UTC

    def as_json(self) -> dict[str, Any]:
        """Returns it as plain data."""
        return asdict(self)


def compare(project: Project) -> list[Row]:
    """Returns the runs, oldest first; one whose files cannot be read stands there with what can."""
    return [_row(run) for run in list_runs(project)]


def save_evaluation(run: Run, found: dict[str, Any]) -> None:
    """Keeps what an evaluation on the test split found beside the run, for `compare`."""
    write_json(run.path / EVALUATION, {name: found[name] for name in ("on", "accuracy", "n", "ece")})


def runs_table(rows: Sequence[Row]) -> str:
    """Returns the runs for people, a line each."""
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
    config, tested, status = _readable(run.config), _evaluation(run), run.status()
    return Row(
        run=run.name,
        method=str(config.get("method", "")),
        preset=str(config.get("preset", "")),
        labels=len(_readable(run.labels)),
        step=status.step,
        steps=status.steps,
        state=str(status.state),
        validation_accuracy=validation_accuracy(run),
        test_accuracy=tested.get("accuracy"),
        test_images=tested.get("n"),
        started=_started(run),
    )


def _readable(read: Any) -> dict[str, Any]:
    try:
        value: dict[str, Any] = read()
    except ProjectError:
        return {}
    return value


def _evaluation(run: Run) -> dict[str, Any]:
    try:
        found = json.loads((run.path / EVALUATION).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _started(run: Run) -> str | None:
    """Returns when the run's settings were written, which is done once."""
    try:
        seconds = (run.path / CONFIG).stat().st_mtime
    except OSError:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"
