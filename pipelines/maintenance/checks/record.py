"""The record: segments are readable, none is missing, and history and signals say what they say."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

from gradebook.pipelines.maintenance.checks.finding import Finding, Subject
from gradebook.pipelines.runs import Run
from gradebook.pipelines.training import checkpoints
from gradebook.storage.project import ProjectError
from gradebook.storage.record import MemoryRecord
from gradebook.storage.segments import segment_schema, segments_in


def segments(subject: Subject) -> Iterator[Finding]:
    """Every segment can be read and has the columns of one."""
    for run in subject.runs:
        bad = [path for path, rows in _footers(run).items() if rows is None]
        if bad:
            yield Finding(
                what=f"{len(bad)} segments of the record of {run.name} cannot be read",
                where=tuple(str(path) for path in bad),
                mend="restore them from a backup, or move them away: what they said is then missing from the record",
            )


def steps(subject: Subject) -> Iterator[Finding]:
    """Each process's segments are numbered without a gap, go on where the last ended, and reach the checkpoint."""
    for run in subject.runs:
        every = int(run.config().get("record_every", 1))
        reached = checkpoints.newest_step(run.path / "checkpoints") // every * every
        found: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
        for path, footer in _footers(run).items():
            process, _, number = path.stem.rpartition("-")
            if footer is not None and number.isdecimal():
                found[process].append((int(number), footer.first, footer.last))
        for process, rows in sorted(found.items()):
            rows.sort()
            gaps = [n for n, _, _ in rows] != list(range(1, len(rows) + 1))
            back = any(last >= first for (_, _, last), (_, first, _) in pairwise(rows))
            if gaps or back or rows[-1][2] < reached:
                yield Finding(
                    what=f"{run.name}: the record ({process}) has gaps, or ends before its checkpoint, step {reached}",
                    where=(str(run.path / "record"),),
                    mend="restore the missing segments from a backup; the run can go on without them",
                )


def history(subject: Subject) -> Iterator[Finding]:
    """History has as many rows of a run as were folded, and of each segment as many as it has."""
    record = subject.store.record
    for run in subject.runs:
        folded = record.folded(run.name)
        footers, there = _footers(run), segments_in(run.path / "record") or {}
        other = any(f.rows != folded[key] for key in folded.keys() & there.keys() if (f := footers.get(there[key])))
        if record.rows(run.name) != sum(folded.values()) or other:
            yield _torn(subject, run, "the history does not have the rows that its segments have")


def signals(subject: Subject) -> Iterator[Finding]:
    """With content: signals are what a fresh fold of the segments comes to."""
    record = subject.store.record
    for run in subject.runs if subject.content else []:
        folded = record.folded(run.name)
        if not folded or folded.keys() != (segments_in(run.path / "record") or {}).keys():
            continue  # it has changed since it was folded: whoever asks next folds first
        fresh = MemoryRecord()
        try:
            fresh.fold(run.name, run.path / "record")
        except ProjectError:
            continue  # `segments` says so
        told, kept = fresh.dynamics(run.name), record.cached_dynamics(run.name)
        if record.compute_dynamics(run.name) != told or kept not in (None, told):
            yield _torn(subject, run, "history or signals do not say what the segments say")


@dataclass(frozen=True, slots=True)
class _Footer:
    """What a segment says of itself at its end."""

    rows: int
    first: int  # step
    last: int  # step


def _footers(run: Run) -> dict[Path, _Footer | None]:
    """Returns every segment's footer, None where it cannot be read."""
    return {path: _footer(path) for path in (segments_in(run.path / "record") or {}).values()}


def _footer(path: Path) -> _Footer | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        told = pq.read_metadata(path)
        if told.schema.to_arrow_schema().names != segment_schema([]).names:
            return None
        column = told.schema.names.index("step")
        of_step = [told.row_group(n).column(column).statistics for n in range(told.num_row_groups)]
        return _Footer(told.num_rows, min(s.min for s in of_step), max(s.max for s in of_step))
    except (OSError, pa.ArrowException, ValueError, AttributeError):
        return None


def _torn(subject: Subject, run: Run, what: str) -> Finding:
    folder = run.path / "record"
    return Finding(
        what=f"{run.name}: {what}, as after a fold that was killed",
        where=(str(folder),),
        mend="verify with --mend, which folds them anew",
        mending=partial(_refold, subject, run) if folder.is_dir() else None,
    )


def _refold(subject: Subject, run: Run) -> None:
    subject.store.record.forget(run.name)
    subject.store.record.fold(run.name, run.path / "record")
