"""A table of a run's reasons, as it is asked: a column without the others. `gradebook.pipelines.curation.reason_cache`
makes it.

Shape legend    N samples of the table    P pairs of near-duplicates    d of the space
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradebook.pipelines.curation.batch_coverage import Candidates, Covers, covering

LIVE = "twin_differs"  # the reason that is worked out when it is read, for labels change it

Scores = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Reasons:
    """A table of reasons."""

    table: Any  # pyarrow.Table
    classes: list[str]
    left_out: frozenset[str]  # samples with a given label of which the run has no opinion
    covers: Covers | None  # None of given labels, and where a sample has no vectors

    def scores(self, reason: str | None, labels: Mapping[str, str]) -> Scores:
        """Returns (N,) scores of a reason, or of the default order; -1 where it says nothing.

        Args:
            reason: its name; None for the default order.
            labels: sample_id -> class name, as they are now.
        """
        found = self._twins_differ(self.table, labels) if reason == LIVE else self._numbers(reason or "doubt")
        return np.where(np.isnan(found), np.float32(-1), found)

    def places(self, sample_ids: Collection[str]) -> NDArray[np.int64]:
        """Returns where these samples, each once, stand in the table (n,), -1 for those that do not."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if (ids := self._names()) is not None and len(sample_ids):
            names, by_id = np.array([i.encode() for i in sample_ids]), self.table["by_id"].to_numpy()
            at = np.searchsorted(ids, names, sorter=by_id)
            places = by_id[np.minimum(at, len(ids) - 1)].astype(np.int64)
            return np.where(ids[places] == names, places, -1)
        found = pc.index_in(self.table["sample_id"], value_set=pa.array(list(sample_ids), pa.string()))
        there = np.flatnonzero(found.is_valid().to_numpy())
        out = np.full(len(sample_ids), -1, np.int64)
        out[found.drop_null().to_numpy()] = there
        return out

    def ids(self, places: NDArray[np.int64]) -> list[str]:
        """Returns the samples at these places."""
        return list(self._taken("sample_id", places).to_pylist())

    def rows(self, places: NDArray[np.int64], labels: Mapping[str, str]) -> list[dict[str, Any]]:
        """Returns of each place label (a class name), probability, and the reasons that say something."""
        import pyarrow as pa

        from gradebook.mpl.reasons import REASONS

        some = self.table.take(pa.array(places))
        columns = {name: some[name].to_numpy() for name in REASONS if name != LIVE}
        columns[LIVE] = self._twins_differ(some, labels)
        guess, probability = some["guess"].to_pylist(), some["probability"].to_pylist()
        return [
            {
                "label": self.classes[guess[k]],
                "probability": round(probability[k], 4),
                "reasons": {n: round(float(columns[n][k]), 4) for n in REASONS if not np.isnan(columns[n][k])},
            }
            for k in range(len(places))
        ]

    def groups(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns numbers which near-duplicates share."""
        return np.asarray(self._taken("group", places).to_numpy(), np.int64)

    def guesses(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns the places of the guesses in `classes`."""
        return np.asarray(self._taken("guess", places).to_numpy(), np.int64)

    def those(self, label: str | None, least: float, most: float) -> NDArray[np.int64]:
        """Returns the places of the guesses of a class, or of any, with a probability in [least, most]."""
        probability = self._numbers("probability").round(4)
        chosen = (probability >= np.float32(least)) & (probability <= np.float32(most))
        if label is not None:
            chosen &= self.table["guess"].to_numpy() == (self.classes.index(label) if label in self.classes else -1)
        return np.flatnonzero(chosen)

    def space(self, places: NDArray[np.int64]) -> NDArray[np.float32] | None:
        """Returns (n, d) where these samples lie, None where one of the table's has no vectors."""
        if "space" not in self.table.schema.names:
            return None
        (column,) = self.table["space"].chunks  # read where it lies: pyarrow is slow at taking rows of lists
        return np.asarray(column.values.to_numpy().reshape(len(column), -1)[places], np.float32)

    def covering(self, seen: NDArray[np.int64], among: NDArray[np.int64], limit: int) -> NDArray[np.int64] | None:
        """Returns the places of a batch that covers what is in doubt, first ones first.

        Args:
            seen: places of the samples that stand for their kind since the run: they are not chosen.
            among: places to choose from; of near-duplicates among them only the most doubtful can be chosen.
            limit: how many to choose.

        Returns:
            None where samples have no vectors, or too few of those that were drawn are among these.
        """
        if self.covers is None:
            return None
        open_ = np.zeros(self.table.num_rows, bool)
        open_[among] = True
        open_[seen] = False
        doubt, bounds = self._numbers("doubt"), self._numbers("gain")
        open_[self._repeats(np.flatnonzero(open_ & ~np.isnan(bounds)), doubt)] = False
        candidates = Candidates(doubt=doubt, bounds=bounds, is_open=open_)
        return covering(self.covers, candidates, self._lies, seen=seen, limit=limit)

    def holds(self, given: Mapping[str, str]) -> bool:
        """Returns whether every sample is there with the label that it has been given, or can have no reasons."""
        index = {name: k for k, name in enumerate(self.classes)}
        there = {i: index.get(name, -1) for i, name in given.items() if i not in self.left_out}
        places = self.places(there)
        labels = self._taken("label", places[places >= 0]).to_numpy()
        return len(labels) == len(there) and bool((labels == np.array(list(there.values()), np.int64)).all())

    def labels(self) -> dict[str, str]:
        """Returns the labels in question of a table of given ones, by sample."""
        label = self.table["label"].to_pylist()
        return {i: self.classes[k] for i, k in zip(self.table["sample_id"].to_pylist(), label, strict=True) if k >= 0}

    def _repeats(self, places: NDArray[np.int64], doubt: Scores) -> NDArray[np.int64]:
        """Returns those of the places that a more doubtful near-duplicate stands for."""
        from gradebook.mpl.ranking import one_of_each, rank

        kept = one_of_each(rank(doubt[places].astype(np.float64)), self.groups(places))
        return np.delete(places, kept)

    def _names(self) -> NDArray[np.bytes_] | None:
        """Returns the samples' ids (N,) where they lie, None where they are not all equally long."""
        ids = self.table["sample_id"].combine_chunks()
        ends = np.frombuffer(ids.buffers()[1], np.int32, len(ids) + 1, 4 * ids.offset) if len(ids) else np.empty(0)
        width = int(ends[1] - ends[0]) if len(ids) else 0
        if not width or not (np.diff(ends) == width).all():
            return None
        return np.frombuffer(ids.buffers()[2], f"S{width}", len(ids), int(ends[0]))

    def _lies(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        found = self.space(places)
        assert found is not None
        return found

    def _taken(self, name: str, places: NDArray[np.int64]) -> Any:
        import pyarrow as pa

        return self.table[name].take(pa.array(places))

    def _numbers(self, name: str) -> Scores:
        return np.asarray(self.table[name].to_numpy(), np.float32)

    def _twins_differ(self, rows: Any, labels: Mapping[str, str]) -> Scores:
        """Returns `gradebook.mpl.reasons.twin_differs` of some rows (n,): a near-duplicate's label counts before its
        guess.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        index = {name: k for k, name in enumerate(self.classes)}
        twins = rows["twins"].combine_chunks()
        names, own = twins.flatten(), rows["label"].to_numpy()
        twin_labels = np.asarray(rows["twin_guesses"].combine_chunks().flatten().to_numpy(), np.int64).copy()
        codes = np.array([index.get(name, -1) for name in labels.values()] + [-1], np.int64)
        at = pc.index_in(names, value_set=pa.array(list(labels), pa.string()))
        labelled = at.is_valid().to_numpy(zero_copy_only=False)
        twin_labels[labelled] = codes[at.fill_null(-1).to_numpy()[labelled]]
        parents = pc.list_parent_indices(twins).to_numpy()
        compared = (twin_labels >= 0) & (own[parents] >= 0)
        out = np.full(len(own), np.nan, np.float32)
        out[parents[compared]] = 0
        out[parents[compared & (twin_labels != own[parents])]] = 1
        return out
