"""The record: what teacher and student said of every sample, step by step, and what it comes to.

A trainer writes segments (Parquet files of `segment_schema`) into its run's directory `record/`. `fold` copies
them into `history`, and `signals` sums that up. Folding again changes nothing, whenever the last fold was killed.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

from storage import signals
from storage.lance import Tables, one_of, quoted
from storage.project import ProjectError

SAID = (
    "teacher_label",
    "teacher_probability",
    "runner_up",
    "student_label",
    "student_probability",
    "feedback",
    "best_label",
    "best_gain",
)
LABELS = frozenset({"teacher_label", "runner_up", "student_label", "best_label"})
AT_ONCE = 100  # segments appended to `history` in one go: bounds the memory
INDEX_FROM = 500_000  # rows of `history`


class Record(Protocol):
    """What every keeper of records does."""

    def fold(self, run: str, segments: Path) -> int:
        """Takes in the Parquet files of a directory that are new or have changed, and returns how many rows that were.

        Rows of a segment that is no longer there are removed: a resumed run takes back what came after its
        checkpoint. A directory that does not exist says nothing and removes nothing.

        Raises:
            ProjectError: a segment cannot be read or is not of `segment_schema`.
        """

    def history(self, sample_id: str, run: str | None = None) -> list[dict[str, Any]]:
        """Returns the rows of a sample by run and step: run, step and `SAID`, labels as names; None where unknown."""

    def signals(self, run: str) -> Any:
        """Returns a `pyarrow.Table` of `storage.signals.schema()`, one row a sample that the run recorded."""

    def forget(self, run: str) -> None:
        """Removes everything of a run, before another of its name starts."""


def segment_schema(classes: Sequence[str]) -> Any:
    """Returns the columns of a segment. Labels are indices into `classes`; only step and sample_id are never null."""
    import pyarrow as pa

    columns = [
        pa.field("step", pa.int32(), nullable=False),
        pa.field("sample_id", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        *(pa.field(name, pa.int16() if name in LABELS else pa.float32()) for name in SAID),
    ]
    return pa.schema(columns, metadata={b"classes": json.dumps(list(classes)).encode()})


class MemoryRecord:
    """A record that lasts as long as its object."""

    def __init__(self) -> None:
        self._runs: dict[str, dict[str, Any]] = {}  # run -> segment -> rows

    def fold(self, run: str, segments: Path) -> int:
        """See `Record.fold`."""
        found = _segments(segments)
        if found is None:
            return 0
        known = self._runs.get(run, {})
        new = {key: rows for key in found.keys() - known.keys() if (rows := _read(run, key, found[key])) is not None}
        kept = {key: rows for key, rows in known.items() if key in found}
        self._runs[run] = dict(sorted({**kept, **new}.items()))
        return sum(rows.num_rows for rows in new.values())

    def history(self, sample_id: str, run: str | None = None) -> list[dict[str, Any]]:
        """See `Record.history`."""
        import pyarrow.compute as pc

        tables = [rows for name in self._runs if run in (None, name) for rows in self._runs[name].values()]
        return _ordered([rows.filter(pc.equal(rows["sample_id"], sample_id)) for rows in tables])

    def signals(self, run: str) -> Any:
        """See `Record.signals`."""
        import pyarrow as pa

        return signals.summarise(run, pa.concat_tables([_schema().empty_table(), *self._runs.get(run, {}).values()]))

    def forget(self, run: str) -> None:
        """See `Record.forget`."""
        self._runs.pop(run, None)


class LanceRecord:
    """A record in three LanceDB tables: `history`, `signals` (a cache) and `folded`, the segments that history has."""

    def __init__(self, directory: Path):
        self._tables = Tables(directory)

    def fold(self, run: str, segments: Path) -> int:
        """See `Record.fold`."""
        found = _segments(segments)
        if found is None:
            return 0
        with self._tables.writing():
            folded = self._folded(run)
            gone, new = folded - found.keys(), found.keys() - folded
            if not gone and not new:
                return 0
            self._delete("history", run, gone | new)  # of the new ones, what a killed fold left
            rows = self._append(run, {key: found[key] for key in sorted(new)})
            self._delete("folded", run, gone)
            self._mark(run, rows)
            return sum(rows.values())

    def history(self, sample_id: str, run: str | None = None) -> list[dict[str, Any]]:
        """See `Record.history`."""
        where = f"sample_id = {quoted(sample_id)}" + ("" if run is None else f" AND run = {quoted(run)}")
        rows = self._tables.read("history", _schema().names, where)
        return [] if rows is None else _ordered([rows])

    def signals(self, run: str) -> Any:
        """See `Record.signals`. They are summed up when first asked for after a fold, and kept."""
        kept = self._kept_signals(run)
        if kept is not None:
            return kept
        with self._tables.writing():
            columns = [name for name in _schema().names if name not in ("run", "segment", "runner_up")]
            rows = self._tables.read("history", columns, f"run = {quoted(run)}")
            fresh = signals.summarise(run, _schema().empty_table() if rows is None else rows)
            if fresh.num_rows:
                self._keep_signals(run, fresh)
            return fresh

    def forget(self, run: str) -> None:
        """See `Record.forget`."""
        with self._tables.writing():
            for name in ("history", "signals", "folded"):
                self._delete(name, run, None)

    def _folded(self, run: str) -> set[str]:
        rows = self._tables.read("folded", ["segment"], f"run = {quoted(run)}")
        return set() if rows is None else set(rows["segment"].to_pylist())

    def _append(self, run: str, found: dict[str, Path]) -> dict[str, int]:
        """Adds segments to `history`; returns the rows of each, without those that went away meanwhile."""
        import pyarrow as pa

        rows: dict[str, int] = {}
        for start in range(0, len(found), AT_ONCE):
            keys = list(found)[start : start + AT_ONCE]
            tables = {key: table for key in keys if (table := _read(run, key, found[key])) is not None}
            rows |= {key: table.num_rows for key, table in tables.items()}
            if any(rows[key] for key in tables):
                with self._tables.changing("history", _schema()) as table:
                    table.add(pa.concat_tables(tables.values()))
                    _index(table)
        return rows

    def _mark(self, run: str, rows: dict[str, int]) -> None:
        if rows:
            import pyarrow as pa

            marks = pa.table({"run": [run] * len(rows), "segment": list(rows), "rows": list(rows.values())})
            with self._tables.changing("folded", marks.schema) as table:
                table.add(marks)

    def _delete(self, name: str, run: str, segments: set[str] | None) -> None:
        """Deletes the rows of some segments of a run, or of all when `segments` is None."""
        table = self._tables.open(name)
        condition = f"run = {quoted(run)}"
        if segments is not None:
            condition += f" AND {one_of('segment', segments)}" if segments else " AND false"
        if table is not None and table.count_rows(condition):
            table.delete(condition)

    def _kept_signals(self, run: str) -> Any | None:
        rows = self._tables.read("signals", [*signals.schema().names, "made_of"], f"run = {quoted(run)}")
        if rows is None or not rows.num_rows or rows["made_of"][0].as_py() != _digest(self._folded(run)):
            return None
        return rows.drop_columns("made_of").cast(signals.schema())

    def _keep_signals(self, run: str, fresh: Any) -> None:
        """Replaces the run's signals. A kill between the two steps leaves none, and they are made again."""
        import pyarrow as pa

        made_of = pa.array([_digest(self._folded(run))] * fresh.num_rows)
        rows = fresh.append_column("made_of", made_of)
        self._delete("signals", run, None)
        with self._tables.changing("signals", rows.schema) as table:
            table.add(rows)


def _schema() -> Any:
    """Returns the columns of `history`: a segment's with names for labels, its run and where they came from."""
    import pyarrow as pa

    return pa.schema(
        {
            "run": pa.string(),
            "segment": pa.string(),
            "step": pa.int32(),
            "sample_id": pa.string(),
            **{name: pa.string() if name in LABELS else pa.float32() for name in SAID},
        }
    )


def _index(table: Any) -> None:
    """Gives a long history an index by sample, which finds a sample among 5 million rows in 0.04 s instead of 0.5."""
    if table.count_rows() > INDEX_FROM and not table.list_indices():
        from lancedb.index import BTree

        table.create_index("sample_id", config=BTree())


def _segments(directory: Path) -> dict[str, Path] | None:
    """Returns the segments by a key that changes when the file does: a resumed run writes old names anew."""
    if not directory.is_dir():
        return None
    found = {}
    for path in sorted(directory.glob("[!.]*.parquet")):
        with suppress(FileNotFoundError):  # a resumed run has just removed it
            stat = path.stat()
            found[f"{path.name}/{stat.st_size}/{stat.st_mtime_ns}"] = path
    return found


def _read(run: str, key: str, path: Path) -> Any | None:
    """Returns a segment's rows in the columns of `history`, None when a resumed run has just removed it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(path)
        classes = pa.array(json.loads(rows.schema.metadata[b"classes"]), pa.string())
        columns = {name: rows[name].combine_chunks() for name in ("step", "sample_id", *SAID)}
        for name in LABELS:
            columns[name] = pa.DictionaryArray.from_arrays(columns[name], classes)
        columns |= {"run": pa.repeat(run, rows.num_rows), "segment": pa.repeat(key, rows.num_rows)}
        return pa.table([columns[field.name].cast(field.type) for field in _schema()], schema=_schema())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise ProjectError(f"{path} cannot be read as a segment of a record ({error}): move it away") from error


def _ordered(tables: Sequence[Any]) -> list[dict[str, Any]]:
    import pyarrow as pa

    rows = pa.concat_tables([_schema().empty_table(), *tables]).drop_columns("segment")
    return sorted(rows.drop_columns("sample_id").to_pylist(), key=lambda row: (row["run"], row["step"]))


def _digest(segments: set[str]) -> str:
    return blake2b("\n".join(sorted(segments)).encode(), digest_size=16).hexdigest()
