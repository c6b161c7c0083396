"""The record: what teacher and student said of every sample, step by step, and what it comes to.

A trainer writes segments (see `storage.segments`) into its run's directory `record/`. `fold` copies
them into `history`, and `signals` sums that up. Folding again changes nothing, whenever the last fold was killed.
"""

from collections.abc import Collection, Iterable, Mapping
from hashlib import blake2b
from operator import itemgetter
from pathlib import Path
from typing import Any, Protocol

from storage import signals
from storage.lance import Tables, keep_indices, one_of, quoted
from storage.segments import SAID, history_schema, read_segment, segments_in

BEGUN = -1  # stands for a segment's rows in `folded` while a fold takes it in
AT_ONCE = 20  # segments appended to `history` in one go: bounds the memory
TOLD = ["run", "step", *SAID]  # what `Record.history` tells of a row
MOMENT = itemgetter("run", "step")
INDEX_FROM = 500_000  # rows of `history`: among 5 million an index finds a sample in 0.04 s instead of 0.5


class Record(Protocol):
    """What every keeper of records does."""

    def fold(self, run: str, segments: Path) -> int:
        """Takes in the Parquet files of a directory that are new or have changed, and returns how many rows that were.

        Rows of a segment that is no longer there are removed: a resumed run takes back what came after its
        checkpoint. A directory that does not exist says nothing and removes nothing.

        Raises:
            ProjectError: a segment cannot be read or is not of `storage.segments.segment_schema`.
        """

    def fold_all(self, runs: Mapping[str, Path]) -> int:
        """Does what `fold` does for every run and its directory, quicker where most have nothing new."""

    def history(self, sample_id: str, run: str | None = None) -> list[dict[str, Any]]:
        """Returns the rows of a sample by run and step: run, step and `SAID`, labels as names; None where unknown."""

    def histories(self, sample_ids: Collection[str], run: str) -> Any:
        """Returns the rows of some samples in one run as a `pyarrow.Table` of `history_schema()`, in no order."""

    def signals(self, run: str) -> Any:
        """Returns a `pyarrow.Table` of `storage.signals.schema()`, one row a sample that the run recorded."""

    def forget(self, run: str) -> None:
        """Removes everything of a run, before another of its name starts."""

    def clear(self) -> None:
        """Removes everything of every run, even what cannot be read any more; `fold` makes it anew."""

    def folded(self, run: str) -> dict[str, int]:
        """Returns the segments that were taken in whole, by their keys in `segments_in`, and the rows of each."""

    def rows(self, run: str) -> int:
        """Returns how many rows the history has of a run: the sum of `folded`, or something is wrong."""

    def fresh_signals(self, run: str) -> Any:
        """Returns what `signals` does, summed up anew from the history; keeps nothing."""

    def kept_signals(self, run: str) -> Any | None:
        """Returns what `signals` has kept from before, None where it would sum up anew."""


class MemoryRecord:
    """A record that lasts as long as its object."""

    def __init__(self) -> None:
        self._runs: dict[str, dict[str, Any]] = {}  # run -> segment -> rows

    def fold(self, run: str, segments: Path) -> int:
        """See `Record.fold`."""
        found = segments_in(segments)
        if found is None:
            return 0
        known = self._runs.get(run, {})
        new = {
            key: rows for key in found.keys() - known.keys() if (rows := read_segment(run, key, found[key])) is not None
        }
        kept = {key: rows for key, rows in known.items() if key in found}
        self._runs[run] = dict(sorted({**kept, **new}.items()))
        return sum(rows.num_rows for rows in new.values())

    def fold_all(self, runs: Mapping[str, Path]) -> int:
        """See `Record.fold_all`."""
        return sum(self.fold(run, segments) for run, segments in runs.items())

    def history(self, sample_id: str, run: str | None = None) -> list[dict[str, Any]]:
        """See `Record.history`."""
        import pyarrow.compute as pc

        tables = [rows for name in self._runs if run in (None, name) for rows in self._runs[name].values()]
        mine = (rows.filter(pc.equal(rows["sample_id"], sample_id)) for rows in tables)
        return sorted((row for rows in mine for row in rows.select(TOLD).to_pylist()), key=MOMENT)

    def histories(self, sample_ids: Collection[str], run: str) -> Any:
        """See `Record.histories`."""
        import pyarrow as pa
        import pyarrow.compute as pc

        chosen = pc.field("sample_id").isin(pa.array(list(sample_ids), pa.string()))
        return pa.concat_tables([history_schema().empty_table(), *self._runs.get(run, {}).values()]).filter(chosen)

    def signals(self, run: str) -> Any:
        """See `Record.signals`."""
        import pyarrow as pa

        return signals.summarise(
            run, pa.concat_tables([history_schema().empty_table(), *self._runs.get(run, {}).values()])
        )

    def forget(self, run: str) -> None:
        """See `Record.forget`."""
        self._runs.pop(run, None)

    def clear(self) -> None:
        """See `Record.clear`."""
        self._runs.clear()

    def folded(self, run: str) -> dict[str, int]:
        """See `Record.folded`."""
        return {key: rows.num_rows for key, rows in self._runs.get(run, {}).items()}

    def rows(self, run: str) -> int:
        """See `Record.rows`."""
        return sum(self.folded(run).values())

    def fresh_signals(self, run: str) -> Any:
        """See `Record.fresh_signals`."""
        return self.signals(run)

    def kept_signals(self, run: str) -> Any | None:
        """See `Record.kept_signals`."""
        return None


class LanceRecord:
    """A record in three LanceDB tables: `history`, `signals` (a cache) and `folded`, the segments that history has.

    A segment stands in `folded` as `BEGUN` before its rows are added, so that a fold after a killed one knows which to
    take out, even where a resumed run has taken the segment itself away by then.
    """

    def __init__(self, directory: Path, address: str = ""):
        self._tables = Tables(directory, address)
        self._kept: tuple[str | None, dict[str, dict[str, int]]] | None = None  # the stamp of `folded`, and its rows

    def fold(self, run: str, segments: Path) -> int:
        """See `Record.fold`."""
        found = segments_in(segments)
        marks = self._marks(run)
        if found is None or (marks.keys() == found.keys() and BEGUN not in marks.values()):
            return 0
        with self._tables.writing():
            marks = self._marks(run)
            whole = {key for key, rows in marks.items() if rows != BEGUN}
            old, new = marks.keys() - (whole & found.keys()), found.keys() - whole
            if not old and not new:
                return 0
            self._delete("history", run, old)
            self._delete("folded", run, old)
            self._mark(run, dict.fromkeys(sorted(new), BEGUN))
            rows = self._append(run, {key: found[key] for key in sorted(new)})
            self._mark(run, rows)
            return sum(rows.values())

    def fold_all(self, runs: Mapping[str, Path]) -> int:
        """See `Record.fold_all`."""
        return sum(self.fold(run, segments) for run, segments in runs.items())

    def history(self, sample_id: str, run: str | None = None) -> list[dict[str, Any]]:
        """See `Record.history`."""
        where = f"sample_id = {quoted(sample_id)}" + ("" if run is None else f" AND run = {quoted(run)}")
        rows = self._tables.read("history", TOLD, where)
        return [] if rows is None else sorted(rows.to_pylist(), key=MOMENT)

    def histories(self, sample_ids: Collection[str], run: str) -> Any:
        """See `Record.histories`."""
        where = f"run = {quoted(run)} AND {one_of('sample_id', sample_ids)}" if sample_ids else "false"
        return self._tables.read("history", history_schema().names, where) or history_schema().empty_table()

    def signals(self, run: str) -> Any:
        """See `Record.signals`. They are summed up when first asked for after a fold, and kept."""
        kept = self.kept_signals(run)
        if kept is not None:
            return kept
        with self._tables.writing():
            fresh = self.fresh_signals(run)
            if fresh.num_rows:
                self._keep_signals(run, fresh)
            return fresh

    def forget(self, run: str) -> None:
        """See `Record.forget`."""
        with self._tables.writing():
            for name in ("history", "signals", "folded"):
                self._delete(name, run, None)

    def clear(self) -> None:
        """See `Record.clear`."""
        for name in ("folded", "signals", "history"):
            self._tables.drop(name)

    def folded(self, run: str) -> dict[str, int]:
        """See `Record.folded`."""
        return {key: rows for key, rows in self._marks(run).items() if rows != BEGUN}

    def rows(self, run: str) -> int:
        """See `Record.rows`."""
        table = self._tables.open("history")
        return 0 if table is None else int(table.count_rows(f"run = {quoted(run)}"))

    def fresh_signals(self, run: str) -> Any:
        """See `Record.fresh_signals`."""
        columns = [name for name in history_schema().names if name not in ("run", "segment", "runner_up")]
        rows = self._tables.read("history", columns, f"run = {quoted(run)}")
        return signals.summarise(run, history_schema().empty_table() if rows is None else rows)

    def _marks(self, run: str) -> dict[str, int]:
        """Returns the rows of each segment of a run; what all have is kept until somebody writes."""
        stamp = self._tables.stamp(["folded"])
        if self._kept is None or stamp is None or self._kept[0] != stamp:
            names, every = ["run", "segment", "rows"], dict[str, dict[str, int]]()
            rows = self._tables.read("folded", names)
            for one, segment, number in zip(*(rows[name].to_pylist() for name in names), strict=True) if rows else ():
                every.setdefault(one, {})[segment] = number
            self._kept = stamp, every
        return self._kept[1].get(run, {})

    def _append(self, run: str, found: dict[str, Path]) -> dict[str, int]:
        """Adds segments to `history`; returns the rows of each, without those that went away meanwhile."""
        import pyarrow as pa

        rows: dict[str, int] = {}
        begun = self._tables.open("history")
        schema = history_schema() if begun is None else begun.schema  # an earlier version's, maybe
        for start in range(0, len(found), AT_ONCE):
            keys = list(found)[start : start + AT_ONCE]
            tables = {key: table for key in keys if (table := read_segment(run, key, found[key])) is not None}
            rows |= {key: table.num_rows for key, table in tables.items()}
            if any(rows[key] for key in tables):
                with self._tables.changing("history", schema) as table:
                    table.add(pa.concat_tables(tables.values()).cast(schema))
        if any(rows.values()):
            keep_indices(self._tables.open("history"), ["sample_id"], INDEX_FROM)
        return rows

    def _mark(self, run: str, rows: dict[str, int]) -> None:
        """Writes how many rows history has of each segment, over what stood there."""
        if rows:
            import pyarrow as pa

            marks = pa.table({"run": [run] * len(rows), "segment": list(rows), "rows": list(rows.values())})
            with self._tables.changing("folded", marks.schema) as table:
                merge = table.merge_insert(["run", "segment"])
                merge.when_matched_update_all().when_not_matched_insert_all().execute(marks)

    def _delete(self, name: str, run: str, segments: set[str] | None) -> None:
        """Deletes the rows of some segments of a run, or of all when `segments` is None."""
        table = self._tables.open(name)
        condition = f"run = {quoted(run)}"
        if segments is not None:
            condition += f" AND {one_of('segment', segments)}" if segments else " AND false"
        if table is not None and table.count_rows(condition):
            table.delete(condition)

    def kept_signals(self, run: str) -> Any | None:
        """See `Record.kept_signals`."""
        columns = [*signals.schema().names, "made_of"]
        if self._signal_columns() != columns:  # none were ever kept, or an earlier version kept fewer
            return None
        rows = self._tables.read("signals", columns, f"run = {quoted(run)}")
        if rows is None or not rows.num_rows or rows["made_of"][0].as_py() != digest(self.folded(run)):
            return None
        return rows.drop_columns("made_of").cast(signals.schema())

    def _keep_signals(self, run: str, fresh: Any) -> None:
        """Replaces the run's signals. A kill between the two steps leaves none, and they are made again."""
        import pyarrow as pa

        made_of = pa.array([digest(self.folded(run))] * fresh.num_rows)
        rows = fresh.append_column("made_of", made_of)
        if self._signal_columns() not in (None, rows.column_names):
            self._tables.drop("signals")
        self._delete("signals", run, None)
        with self._tables.changing("signals", rows.schema) as table:
            table.add(rows)

    def _signal_columns(self) -> list[str] | None:
        table = self._tables.open("signals")
        return None if table is None else list(table.schema.names)


def digest(segments: Iterable[str]) -> str:
    """Returns what stands for a set of segments: it changes when one comes, goes or is written anew."""
    return blake2b("\n".join(sorted(segments)).encode(), digest_size=16).hexdigest()
