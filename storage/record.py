"""The record: outputs of teacher and student for every sample, step by step, and the training dynamics of a run.

A trainer writes segments (see `gradebook.storage.segments`) into its run's directory `record/`. `fold` copies
them into `history`, and `dynamics` sums that up. Folding is idempotent, also after a fold that was killed.
`gradebook.storage.lance_record` has the persistent implementation.
"""

from collections.abc import Collection, Iterable, Mapping
from hashlib import blake2b
from operator import itemgetter
from pathlib import Path
from typing import Any, Protocol

from gradebook.storage import training_dynamics
from gradebook.storage.segments import RECORDED, history_schema, read_segment, segments_in

HISTORY_COLUMNS = ["run", "step", *RECORDED]  # the columns of `Record.history`
BY_RUN_AND_STEP = itemgetter("run", "step")


class Record(Protocol):
    """The interface of records."""

    def fold(self, run: str, segments: Path) -> int:
        """Adds the Parquet files of a directory that are new or have changed, and returns the number of rows added.

        Rows of a segment that is no longer there are removed: a resumed run deletes what came after its
        checkpoint. A directory that does not exist changes nothing, and on a read-only disk nothing is added.

        Raises:
            ProjectError: a segment cannot be read or is not of `gradebook.storage.segments.segment_schema`.
        """

    def fold_all(self, runs: Mapping[str, Path]) -> int:
        """Folds every run and its directory, faster than one by one if most have nothing new."""

    def history(self, sample_id: str, run: str | None = None) -> list[dict[str, Any]]:
        """Returns a sample's rows by run and step: run, step and `RECORDED`, with names for labels, None if unknown."""

    def histories(self, sample_ids: Collection[str], run: str) -> Any:
        """Returns the rows of some samples in one run as a `pyarrow.Table` of `history_schema()`, in no order."""

    def dynamics(self, run: str) -> Any:
        """Returns a `pyarrow.Table` of `gradebook.storage.training_dynamics.schema()`, one row per sample that the run
        recorded.
        """

    def forget(self, run: str) -> None:
        """Removes everything of a run, before another of its name starts."""

    def clear(self) -> None:
        """Removes everything of every run, even what cannot be read; `fold` adds it again."""

    def runs(self) -> list[str]:
        """Returns the names of the runs that have rows, in alphabetical order."""

    def folded(self, run: str) -> dict[str, int]:
        """Returns the number of rows of each segment that was folded completely, by its key in `segments_in`."""

    def rows(self, run: str) -> int:
        """Returns the number of rows of a run in the history, which should be the sum of `folded`."""

    def compute_dynamics(self, run: str) -> Any:
        """Returns the same as `dynamics`, computed from the history without the cache."""

    def cached_dynamics(self, run: str) -> Any | None:
        """Returns the cached result of `dynamics`, None if it is out of date."""


class MemoryRecord:
    """A record in memory."""

    def __init__(self) -> None:
        self._runs: dict[str, dict[str, Any]] = {}  # run -> segment -> rows

    def fold(self, run: str, segments: Path) -> int:
        """See `Record.fold`."""
        present = segments_in(segments)
        if present is None:
            return 0
        known = self._runs.get(run, {})
        new = {
            key: rows
            for key in present.keys() - known.keys()
            if (rows := read_segment(run, key, present[key])) is not None
        }
        retained = {key: rows for key, rows in known.items() if key in present}
        self._runs[run] = dict(sorted({**retained, **new}.items()))
        return sum(rows.num_rows for rows in new.values())

    def fold_all(self, runs: Mapping[str, Path]) -> int:
        """See `Record.fold_all`."""
        return sum(self.fold(run, segments) for run, segments in runs.items())

    def history(self, sample_id: str, run: str | None = None) -> list[dict[str, Any]]:
        """See `Record.history`."""
        import pyarrow.compute as pc

        tables = [rows for name in self._runs if run in (None, name) for rows in self._runs[name].values()]
        mine = (rows.filter(pc.equal(rows["sample_id"], sample_id)) for rows in tables)
        return sorted((row for rows in mine for row in rows.select(HISTORY_COLUMNS).to_pylist()), key=BY_RUN_AND_STEP)

    def histories(self, sample_ids: Collection[str], run: str) -> Any:
        """See `Record.histories`."""
        import pyarrow as pa
        import pyarrow.compute as pc

        chosen = pc.field("sample_id").isin(pa.array(list(sample_ids), pa.string()))
        return pa.concat_tables([history_schema().empty_table(), *self._runs.get(run, {}).values()]).filter(chosen)

    def dynamics(self, run: str) -> Any:
        """See `Record.dynamics`."""
        import pyarrow as pa

        return training_dynamics.summarise(
            run, pa.concat_tables([history_schema().empty_table(), *self._runs.get(run, {}).values()])
        )

    def forget(self, run: str) -> None:
        """See `Record.forget`."""
        self._runs.pop(run, None)

    def clear(self) -> None:
        """See `Record.clear`."""
        self._runs.clear()

    def runs(self) -> list[str]:
        """See `Record.runs`."""
        return sorted(name for name in self._runs if self.rows(name))

    def folded(self, run: str) -> dict[str, int]:
        """See `Record.folded`."""
        return {key: rows.num_rows for key, rows in self._runs.get(run, {}).items()}

    def rows(self, run: str) -> int:
        """See `Record.rows`."""
        return sum(self.folded(run).values())

    def compute_dynamics(self, run: str) -> Any:
        """See `Record.compute_dynamics`."""
        return self.dynamics(run)

    def cached_dynamics(self, run: str) -> Any | None:
        """See `Record.cached_dynamics`."""
        return None


def digest(segments: Iterable[str]) -> str:
    """Returns a digest of a set of segments, which changes when one is added, removed or rewritten."""
    return blake2b("\n".join(sorted(segments)).encode(), digest_size=16).hexdigest()
