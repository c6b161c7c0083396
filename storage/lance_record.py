"""The record in LanceDB tables: see `gradebook.storage.record` for its interface."""

import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from gradebook.storage import training_dynamics
from gradebook.storage.compaction import keep_indices
from gradebook.storage.lance_tables import Tables, one_of, quoted
from gradebook.storage.record import BY_RUN_AND_STEP, HISTORY_COLUMNS, digest
from gradebook.storage.segments import history_schema, read_segment, segments_in

BEGUN = -1  # number of rows in `folded` for a segment that is being folded
SEGMENT_BATCH = 20  # segments appended to `history` at a time; bounds the memory
INDEX_FROM = 500_000  # rows of `history`; among 5 million rows an index finds a sample in 0.04 s instead of 0.5 s
KEY = "sample_key"
FINGERPRINT = "made_of"  # column of `signals`: the digest of the segments that the dynamics were computed from
ROW_BATCH = 5_000  # rows read by id in one query


class LanceRecord:
    """A record in three LanceDB tables: `history`, `signals` (cached training dynamics) and `folded` (segments).

    A segment is marked as `BEGUN` in `folded` before its rows are added. After a killed fold, the next one can
    therefore tell which rows to remove, even if a resumed run has deleted the segment by then.
    """

    def __init__(self, directory: Path, address: str = ""):
        self._tables = Tables(directory, address)
        self._marks_cache: tuple[str | None, dict[str, dict[str, int]]] | None = None  # stamp and rows of `folded`

    def fold(self, run: str, segments: Path) -> int:
        """See `Record.fold`."""
        segments_found = segments_in(segments)
        marks = self._marks(run)
        if segments_found is None or (marks.keys() == segments_found.keys() and BEGUN not in marks.values()):
            return 0
        if self._tables.is_read_only():
            return 0
        with self._tables.write_lock():
            marks = self._marks(run)
            complete = {key for key, rows in marks.items() if rows != BEGUN}
            old, new = marks.keys() - (complete & segments_found.keys()), segments_found.keys() - complete
            if not old and not new:
                return 0
            self._delete("history", run, old)
            self._delete("folded", run, old)
            self._mark(run, dict.fromkeys(sorted(new), BEGUN))
            rows = self._append(run, {key: segments_found[key] for key in sorted(new)})
            self._mark(run, rows)
            return sum(rows.values())

    def fold_all(self, runs: Mapping[str, Path]) -> int:
        """See `Record.fold_all`."""
        return sum(self.fold(run, segments) for run, segments in runs.items())

    def history(self, sample_id: str, run: str | None = None) -> list[dict[str, Any]]:
        """See `Record.history`."""
        return sorted(self._of([sample_id], run).select(HISTORY_COLUMNS).to_pylist(), key=BY_RUN_AND_STEP)

    def histories(self, sample_ids: Collection[str], run: str) -> Any:
        """See `Record.histories`."""
        return self._of(sample_ids, run)

    def dynamics(self, run: str) -> Any:
        """See `Record.dynamics`. They are cached, and computed again on the first read after a fold."""
        cached = self.cached_dynamics(run)
        if cached is not None:
            return cached
        if self._tables.is_read_only():
            return self.compute_dynamics(run)
        with self._tables.write_lock():
            fresh = self.compute_dynamics(run)
            if fresh.num_rows:
                self._cache_dynamics(run, fresh)
            return fresh

    def forget(self, run: str) -> None:
        """See `Record.forget`."""
        with self._tables.write_lock():
            for name in ("history", "signals", "folded"):
                self._delete(name, run, None)

    def clear(self) -> None:
        """See `Record.clear`."""
        for name in ("folded", "signals", "history"):
            self._tables.drop(name)

    def runs(self) -> list[str]:
        """See `Record.runs`."""
        return sorted(name for name in self._all_marks() if any(self.folded(name).values()))

    def folded(self, run: str) -> dict[str, int]:
        """See `Record.folded`."""
        return {key: rows for key, rows in self._marks(run).items() if rows != BEGUN}

    def rows(self, run: str) -> int:
        """See `Record.rows`."""
        table = self._tables.open("history")
        return 0 if table is None else int(table.count_rows(f"run = {quoted(run)}"))

    def compute_dynamics(self, run: str) -> Any:
        """See `Record.compute_dynamics`."""
        columns = [name for name in history_schema().names if name not in ("run", "segment", "runner_up")]
        rows = self._tables.read("history", columns, f"run = {quoted(run)}")
        return training_dynamics.summarise(run, history_schema().empty_table() if rows is None else rows)

    def _of(self, sample_ids: Collection[str], run: str | None) -> Any:
        """Returns the rows of some samples in one run or all, in the columns of `history_schema()`.

        Row ids are looked up first, then the columns of these rows are read. In a single query, LanceDB would read most
        columns of every row that is not indexed yet.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        history = self._tables.open("history")
        if history is None or not sample_ids:
            return history_schema().empty_table()
        history.checkout(history.version)  # row ids belong to one version
        query = history.search().select([_lookup_column(history.schema)]).with_row_id(True)
        row_ids = query.where(_condition(sample_ids, run, history.schema)).to_arrow()["_rowid"].to_pylist()
        parts = [history_schema().empty_table()]
        for start in range(0, len(row_ids), ROW_BATCH):
            condition = f"_rowid IN ({', '.join(map(str, row_ids[start : start + ROW_BATCH]))})"
            rows = history.search().select(history_schema().names).where(condition).to_arrow()
            parts.append(rows.cast(history_schema()))
        return pa.concat_tables(parts).filter(pc.field("sample_id").isin(pa.array(list(sample_ids), pa.string())))

    def _marks(self, run: str) -> dict[str, int]:
        """Returns the rows of each segment of a run, `BEGUN` for one that is being folded."""
        return self._all_marks().get(run, {})

    def _all_marks(self) -> dict[str, dict[str, int]]:
        """Returns the marks of every run, from memory unless the table has changed."""
        stamp = self._tables.stamp(["folded"])
        if self._marks_cache is None or stamp is None or self._marks_cache[0] != stamp:
            names, marks = ["run", "segment", "rows"], dict[str, dict[str, int]]()
            rows = self._tables.read("folded", names)
            for one, segment, number in zip(*(rows[name].to_pylist() for name in names), strict=True) if rows else ():
                marks.setdefault(one, {})[segment] = number
            self._marks_cache = stamp, marks
        return self._marks_cache[1]

    def _append(self, run: str, segments_found: dict[str, Path]) -> dict[str, int]:
        """Adds segments to `history`; returns the rows of each, except of segments that have just been deleted."""
        import pyarrow as pa

        rows: dict[str, int] = {}
        history = self._tables.open("history")
        schema = stored_schema() if history is None else history.schema  # a table of an earlier version has no key
        for start in range(0, len(segments_found), SEGMENT_BATCH):
            keys = list(segments_found)[start : start + SEGMENT_BATCH]
            tables = {key: table for key in keys if (table := read_segment(run, key, segments_found[key])) is not None}
            rows |= {key: table.num_rows for key, table in tables.items()}
            if any(rows[key] for key in tables):
                with self._tables.open_for_writing("history", schema) as table:
                    table.add(with_key(pa.concat_tables(tables.values())).select(schema.names).cast(schema))
        if any(rows.values()):
            keep_indices(self._tables.open("history"), [_lookup_column(schema)], INDEX_FROM)
        return rows

    def _mark(self, run: str, rows: dict[str, int]) -> None:
        """Writes the number of rows of each segment in the history."""
        if rows:
            import pyarrow as pa

            marks = pa.table({"run": [run] * len(rows), "segment": list(rows), "rows": list(rows.values())})
            with self._tables.open_for_writing("folded", marks.schema) as table:
                merge = table.merge_insert(["run", "segment"])
                merge.when_matched_update_all().when_not_matched_insert_all().execute(marks)

    def _delete(self, name: str, run: str, segments: set[str] | None) -> None:
        """Deletes the rows of some segments of a run, or of all if `segments` is None."""
        table = self._tables.open(name)
        condition = f"run = {quoted(run)}"
        if segments is not None:
            condition += f" AND {one_of('segment', segments)}" if segments else " AND false"
        if table is not None and table.count_rows(condition):
            table.delete(condition)

    def cached_dynamics(self, run: str) -> Any | None:
        """See `Record.cached_dynamics`."""
        columns = [*training_dynamics.schema().names, FINGERPRINT]
        if self._cached_columns() != columns:  # none were cached, or an earlier version cached fewer
            return None
        rows = self._tables.read("signals", columns, f"run = {quoted(run)}")
        if rows is None or not rows.num_rows or rows[FINGERPRINT][0].as_py() != digest(self.folded(run)):
            return None
        return rows.drop_columns(FINGERPRINT).cast(training_dynamics.schema())

    def _cache_dynamics(self, run: str, fresh: Any) -> None:
        """Replaces the run's cached dynamics. After a kill between delete and add they are computed again."""
        import pyarrow as pa

        rows = fresh.append_column(FINGERPRINT, pa.array([digest(self.folded(run))] * fresh.num_rows))
        if self._cached_columns() not in (None, rows.column_names):
            self._tables.drop("signals")
        self._delete("signals", run, None)
        with self._tables.open_for_writing("signals", rows.schema) as table:
            table.add(rows)

    def _cached_columns(self) -> list[str] | None:
        table = self._tables.open("signals")
        return None if table is None else list(table.schema.names)


def stored_schema() -> Any:
    """Returns the columns of the table `history`: those of a row, and a key by which its sample is looked up.

    The key has 4 bytes, an id 32. Its index is faster to maintain, and rows that are not indexed yet are faster to
    scan.
    """
    import pyarrow as pa

    return history_schema().append(pa.field(KEY, pa.uint32()))


def key_of(sample_id: str) -> int:
    """Returns the key of a sample. Other samples can have the same key, so `sample_id` is compared too."""
    return zlib.crc32(sample_id.encode())


def with_key(rows: Any) -> Any:
    """Returns rows of `history_schema()` in the columns of `stored_schema()`."""
    import numpy as np
    import pyarrow as pa

    ids = rows["sample_id"].combine_chunks().dictionary_encode()
    keys = np.array([key_of(one) for one in ids.dictionary.to_pylist()], np.uint32)
    return rows.append_column(KEY, pa.array(keys[ids.indices]))


def _lookup_column(schema: Any) -> str:
    """Returns the column by which a sample is looked up: the key, or the id in a table of an earlier version."""
    return KEY if KEY in schema.names else "sample_id"


def _condition(sample_ids: Collection[str], run: str | None, schema: Any) -> str:
    """Returns the SQL condition that a row has the id or key of one of some samples, in one run or any."""
    if _lookup_column(schema) == KEY:
        of_samples = f"{KEY} IN ({', '.join(str(key_of(one)) for one in sample_ids)})"
    else:
        of_samples = one_of("sample_id", sample_ids)
    return of_samples if run is None else f"{of_samples} AND run = {quoted(run)}"
