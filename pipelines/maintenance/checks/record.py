"""The record's segments can be read, none is missing, and the tables folded from them agree."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

from gradebook.pipelines.maintenance.checks.finding import Finding, Subject
from gradebook.pipelines.runs import Run
from gradebook.pipelines.training import checkpoints
from gradebook.storage import checksums
from gradebook.storage.project import ProjectError
from gradebook.storage.record import MemoryRecord
from gradebook.storage.segments import segment_schema, segments_in


def segments(subject: Subject) -> Iterator[Finding]:
    """Every segment can be read and has the columns of one."""
    for run in subject.runs:
        bad = [path for path, rows in _footers(run).items() if rows is None]
        if bad:
            yield Finding(
                problem=f"{len(bad)} record segments of {run.name} cannot be read",
                where=tuple(str(path) for path in bad),
                advice="restore them from a backup, or move them away: the record then lacks their rows",
            )


def steps(subject: Subject) -> Iterator[Finding]:
    """Each process's segments are numbered without gaps, share no step, and reach the checkpoint."""
    for run in subject.runs:
        every = int(run.config().get("record_every", 1))
        reached = checkpoints.newest_step(run.path / "checkpoints") // every * every
        footers: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
        for path, footer in _footers(run).items():
            process, _, number = path.stem.rpartition("-")
            if footer is not None and number.isdecimal():
                footers[process].append((int(number), footer.first, footer.last))
        for process, rows in sorted(footers.items()):
            rows.sort()
            gaps = [n for n, _, _ in rows] != list(range(1, len(rows) + 1))
            shared = [(a, b) for (a, _, last), (b, first, _) in pairwise(rows) if last >= first]
            if shared:
                yield _written_twice(run, process, shared)
            if gaps or max(last for _, _, last in rows) < reached:
                yield Finding(
                    problem=f"{run.name}: the record of {process} has gaps, or ends before the checkpoint at {reached}",
                    where=(str(run.path / "record"),),
                    advice="restore the missing segments from a backup; the run can be resumed without them",
                )


def _written_twice(run: Run, process: str, pairs: list[tuple[int, int]]) -> Finding:
    numbers = sorted({number for pair in pairs for number in pair})
    return Finding(
        problem=f"{run.name}: {len(numbers)} segments of {process} have steps in common, as when two trainings wrote "
        "to one run at once",
        where=tuple(str(run.path / "record" / f"{process}-{number:06d}.parquet") for number in numbers),
        advice="nothing tells which rows belong to its student: train again under another name for a record without "
        "doubt; the labels are not affected",
    )


def history(subject: Subject) -> Iterator[Finding]:
    """The history has as many rows of each segment as the segment has."""
    record = subject.store.record
    for run in subject.runs:
        folded = record.folded(run.name)
        footers, there = _footers(run), segments_in(run.path / "record") or {}
        other = any(f.rows != folded[key] for key in folded.keys() & there.keys() if (f := footers.get(there[key])))
        if record.rows(run.name) != sum(folded.values()) or other:
            yield _outdated(subject, run, "the history does not have the rows of its segments")


def signals(subject: Subject) -> Iterator[Finding]:
    """With content: history and training dynamics equal a fresh fold of the segments."""
    record = subject.store.record
    for run in subject.runs if subject.content else []:
        folded = record.folded(run.name)
        if not folded or folded.keys() != (segments_in(run.path / "record") or {}).keys():
            continue  # new segments since the last fold: the next reader folds first
        if checksums.corrupt_files(run.path / "record"):
            continue  # `segments_are_unchanged` reports it; folding them would lose the rows that the history has
        fresh = MemoryRecord()
        try:
            fresh.fold(run.name, run.path / "record")
        except ProjectError:
            continue  # `segments` reports it
        expected, cached = fresh.dynamics(run.name), record.cached_dynamics(run.name)
        if record.compute_dynamics(run.name) != expected or cached not in (None, expected):
            yield _outdated(subject, run, "history or training dynamics do not match the segments")


@dataclass(frozen=True, slots=True)
class _Footer:
    """The extent of a segment, from the metadata at its end."""

    rows: int
    first: int  # step
    last: int  # step


def _footers(run: Run) -> dict[Path, _Footer | None]:
    """Returns the footer of every segment, None if it cannot be read."""
    return {path: _footer(path) for path in (segments_in(run.path / "record") or {}).values()}


def _footer(path: Path) -> _Footer | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(path)
        if metadata.schema.to_arrow_schema().names != segment_schema([]).names:
            return None
        column = metadata.schema.names.index("step")
        of_step = [metadata.row_group(n).column(column).statistics for n in range(metadata.num_row_groups)]
        return _Footer(metadata.num_rows, min(s.min for s in of_step), max(s.max for s in of_step))
    except (OSError, pa.ArrowException, ValueError, AttributeError):
        return None


def _outdated(subject: Subject, run: Run, problem: str) -> Finding:
    folder = run.path / "record"
    return Finding(
        problem=f"{run.name}: {problem}, as after a fold that was killed",
        where=(str(folder),),
        advice="run verify --repair, which folds the segments again",
        repair=partial(_refold, subject, run) if folder.is_dir() else None,
    )


def _refold(subject: Subject, run: Run) -> None:
    subject.store.record.forget(run.name)
    subject.store.record.fold(run.name, run.path / "record")
