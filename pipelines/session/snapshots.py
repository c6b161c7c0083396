"""Snapshots: what the model of a live session predicts at a moment, and which labels it has seen. Loads no torch.

A snapshot is a directory `snapshots/NUMBER` of the session's run. It has the files that a finished run has (the
predictions, the student, the reasons), `changed.json`, and `session.json` with its numbers. It appears whole, because
it is written under a hidden name and then renamed, so a reader has the files of one snapshot or of the next
(`gradebook.pipelines.runs.Run.results`). The newest few are kept for readers that have begun with an older one. When
the run has finished, its own directory has its results, and the snapshots are deleted.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from gradebook.pipelines.runs import SESSION, SNAPSHOTS, Run
from gradebook.storage.files import write_json
from gradebook.storage.project import ProjectError

RETAINED = 3  # snapshots
MAX_POINTS = 60  # of the curve


class ClassAccuracy(NamedTuple):
    """How many labels of a class are predicted, each by a classifier that was fitted without it."""

    name: str
    correct: int
    labels: int


class CurvePoint(NamedTuple):
    """A point of the curve: accuracy and agreement with a number of labels."""

    labels: int
    accuracy: float
    agreement: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A snapshot in numbers."""

    number: int = 0  # from 1; 0 before the first
    step: int = 0  # steps done
    labels: int = 0  # that the classifier was fitted to
    events: int = 0  # of the log, from its first, that are taken into account
    accuracy: float | None = None  # of the classifier without the student, cross-validated on the labels
    agreement: float | None = None  # share of the images without a label that student and teacher put in one class
    changed: int = 0  # images whose predicted class differs from that of the snapshot before
    taken: str = ""  # ISO 8601, UTC
    interval: tuple[float, float] | None = None  # of the accuracy: Wilson's 95 %
    classes: tuple[ClassAccuracy, ...] = ()  # with a label, the weakest first
    curve: tuple[CurvePoint, ...] = ()  # one for each number of labels, in order; thinned to `MAX_POINTS`


@contextmanager
def new_snapshot(run: Run, number: int) -> Iterator[Run]:
    """Yields the run with its results in a hidden directory, which becomes its newest snapshot after the block.

    Only the session that trains the run calls this. After an error there is no new snapshot.
    """
    directory = run.path / SNAPSHOTS
    draft = directory / f".{number:08d}"
    shutil.rmtree(draft, ignore_errors=True)  # a kill left it
    draft.mkdir(parents=True)
    try:
        yield Run(run.path, pinned=draft)
        draft.rename(directory / f"{number:08d}")
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    for old in _snapshots(run)[:-RETAINED]:
        shutil.rmtree(old, ignore_errors=True)


def keep_newest(run: Run) -> None:
    """Copies the files of the newest snapshot into the run's own directory, as the results of a run that ends."""
    results = run.results
    if results == run.path:
        return
    for path in sorted(results.iterdir()):
        _copy(path, run.path)


def delete_snapshots(run: Run) -> None:
    """Deletes the snapshots of a run that has finished."""
    shutil.rmtree(run.path / SNAPSHOTS, ignore_errors=True)


def newest_number(run: Run) -> int:
    """Returns the number of the newest snapshot of a run, without reading it; 0 without one, as when it has ended."""
    results = run.results
    return 0 if results == run.path else int(results.name)


def read_snapshot(run: Run) -> Snapshot:
    """Returns the newest snapshot of a session's run in numbers; number 0 before the first.

    Raises:
        ProjectError: its file cannot be read.
    """
    path = run.results / SESSION
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
        return _parsed(row)
    except FileNotFoundError:
        return Snapshot()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ProjectError(
            f"{path} cannot be read ({error}): stop the live session and start it again, which writes a new one"
        ) from error


def write_snapshot(directory: Path, snapshot: Snapshot) -> None:
    """Writes the numbers of a snapshot into its directory."""
    write_json(directory / SESSION, asdict(snapshot))


def extended(curve: tuple[CurvePoint, ...], point: CurvePoint) -> tuple[CurvePoint, ...]:
    """Returns a curve with one more point, which replaces a last one of the same number of labels."""
    earlier = curve[:-1] if curve and curve[-1].labels == point.labels else curve
    return (*(earlier if len(earlier) < MAX_POINTS else earlier[1::2]), point)


def _parsed(row: Mapping[str, Any]) -> Snapshot:
    """Returns a snapshot of values that have the right types, from a file that anything may have written."""
    accuracy, agreement = row["accuracy"], row["agreement"]
    return Snapshot(
        **{name: int(row[name]) for name in ("number", "step", "labels", "events", "changed")},
        accuracy=None if accuracy is None else float(accuracy),
        agreement=None if agreement is None else float(agreement),
        taken=str(row["taken"]),
        interval=None if row.get("interval") is None else _interval(row["interval"]),
        classes=tuple(ClassAccuracy(str(name), int(right), int(n)) for name, right, n in row.get("classes", ())),
        curve=tuple(
            CurvePoint(int(n), float(right), None if agree is None else float(agree))
            for n, right, agree in row.get("curve", ())
        ),
    )


def _interval(values: Any) -> tuple[float, float]:
    low, high = values
    return float(low), float(high)


def _snapshots(run: Run) -> list[Path]:
    return sorted((run.path / SNAPSHOTS).glob("[0-9]*"))


def _copy(path: Path, directory: Path) -> None:
    """Copies a file with its checksum and its time, which identifies caches of it."""
    from gradebook.storage import checksums
    from gradebook.storage.files import atomic_path

    if path.name == checksums.FILE:
        return
    with atomic_path(directory / path.name) as temporary:
        shutil.copy2(path, temporary)
        if path.name in checksums.read(path.parent):
            checksums.append(directory / path.name, temporary)
