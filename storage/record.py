"""The record: what teacher and student said of every sample, step by step, and what it comes to.

A trainer writes segments (see `gradebook.storage.segments`) into its run's directory `record/`. `fold` copies
them into `history`, and `dynamics` sums that up. Folding again changes nothing, whenever the last fold was killed.
`gradebook.storage.lance_record` has the one that lasts.
"""

from collections.abc import Collection, Iterable, Mapping
from hashlib import blake2b
from operator import itemgetter
from pathlib import Path
from typing import Any, Protocol

from gradebook.storage import training_dynamics
from gradebook.storage.segments import RECORDED, history_schema, read_segment, segments_in

HISTORY_COLUMNS = ["run", "step", *RECORDED]  # what `Record.history` tells of a row
BY_RUN_AND_STEP = itemgetter("run", "step")


class Record(Protocol):
    """What every keeper of records does."""

    def fold(self, run: str, segments: Path) -> int:
        """Takes in the Parquet files of a directory that are new or have changed, and returns how many rows that were.

        Rows of a segment that is no longer there are removed: a resumed run takes back what came after its
        checkpoint. A directory that does not exist says nothing and removes nothing.

        Raises:
            ProjectError: a segment cannot be read or is not of `gradebook.storage.segments.segment_schema`.
        """

    def fold_all(self, runs: Mapping[str, Path]) -> int:
        """Does what `fold` does for every run and its directory, quicker where most have nothing new."""

    def history(self, sample_id: str, run: str | None = None) -> list[dict[str, Any]]:
        """Returns a sample's rows by run and step: run, step and `RECORDED`, with names for labels, None if unknown."""

    def histories(self, sample_ids: Collection[str], run: str) -> Any:
        """Returns the rows of some samples in one run as a `pyarrow.Table` of `history_schema()`, in no order."""

    def dynamics(self, run: str) -> Any:
        """Returns a `pyarrow.Table` of `gradebook.storage.training_dynamics.schema()`, one row a sample that the run
        recorded.
        """

    def forget(self, run: str) -> None:
        """Removes everything of a run, before another of its name starts."""

    def clear(self) -> None:
        """Removes everything of every run, even what cannot be read any more; `fold` makes it anew."""

    def runs(self) -> list[str]:
        """Returns the names of the runs that have rows, in alphabetical order."""

    def folded(self, run: str) -> dict[str, int]:
        """Returns the segments that were taken in whole, by their keys in `segments_in`, and the rows of each."""

    def rows(self, run: str) -> int:
        """Returns how many rows the history has of a run: the sum of `folded`, or something is wrong."""

    def compute_dynamics(self, run: str) -> Any:
        """Returns what `dynamics` does, summed up anew from the history; keeps nothing."""

    def cached_dynamics(self, run: str) -> Any | None:
        """Returns what `dynamics` has kept from before, None where it would sum up anew."""


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
    """Returns what stands for a set of segments: it changes when one comes, goes or is written anew."""
    return blake2b("\n".join(sorted(segments)).encode(), digest_size=16).hexdigest()
