"""Queries on the table of a run's reasons, which `gradebook.pipelines.curation.reason_cache` computes and caches.

Shape legend    N samples of the table    n samples of a query    d features
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradebook.pipelines.curation.batch_coverage import Candidates, Coverage, choose_batch

DUPLICATE_DIFFERS = "twin_differs"  # the reason that is computed on reading, because it depends on labels

Scores = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ReasonTable:
    """A table of reasons."""

    table: Any  # pyarrow.Table
    classes: list[str]
    left_out: frozenset[str]  # samples with a given label for which the run has no prediction
    coverage: Coverage | None  # None for given labels, and if a sample has no embedding
    former: frozenset[str] = frozenset()  # classes that the project has no more; a prediction of one is not proposed

    def scores(self, reason: str | None, labels: Mapping[str, str]) -> Scores:
        """Returns the scores (N,) of a reason, or of the default order; -1 where unknown.

        Args:
            reason: its name; None for the default order.
            labels: sample_id -> class name, as they are now.
        """
        live = reason == DUPLICATE_DIFFERS
        scores = self._duplicate_differs(self.table, labels) if live else self._numbers(reason or "doubt")
        return np.where(np.isnan(scores), np.float32(-1), scores)

    def indices(self, sample_ids: Collection[str]) -> NDArray[np.int64]:
        """Returns the row (n,) of each of these samples, which must be distinct; -1 for samples not in the table."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if (ids := self._ids_as_bytes()) is not None and len(sample_ids):
            wanted, by_id = np.array([i.encode() for i in sample_ids]), self.table["by_id"].to_numpy()
            at = np.searchsorted(ids, wanted, sorter=by_id)
            indices = by_id[np.minimum(at, len(ids) - 1)].astype(np.int64)
            return np.where(ids[indices] == wanted, indices, -1)
        positions = pc.index_in(self.table["sample_id"], value_set=pa.array(list(sample_ids), pa.string()))
        out = np.full(len(sample_ids), -1, np.int64)
        out[positions.drop_null().to_numpy()] = np.flatnonzero(positions.is_valid().to_numpy())
        return out

    def ids(self, indices: NDArray[np.int64]) -> list[str]:
        """Returns the sample ids of these rows."""
        return list(self._take("sample_id", indices).to_pylist())

    def rows(self, indices: NDArray[np.int64], labels: Mapping[str, str]) -> list[dict[str, Any]]:
        """Returns what a `Row` needs of each of these rows; label and probe are None where they are a former class."""
        import pyarrow as pa

        from gradebook.mpl.reasons import REASONS

        rows = self.table.take(pa.array(indices))
        columns = {name: rows[name].to_numpy() for name in REASONS if name != DUPLICATE_DIFFERS}
        columns[DUPLICATE_DIFFERS] = self._duplicate_differs(rows, labels)
        guess, probability = rows["guess"].to_pylist(), rows["probability"].to_pylist()
        proposed, probe = ([self._present(k) for k in codes] for codes in (guess, rows["probe"].to_pylist()))
        return [
            {
                "label": proposed[k],
                "probability": None if proposed[k] is None else round(probability[k], 4),
                "probe": probe[k],
                "reasons": {n: round(float(columns[n][k]), 4) for n in REASONS if not np.isnan(columns[n][k])},
            }
            for k in range(len(indices))
        ]

    def _present(self, code: int) -> str | None:
        """Returns the name of a class, None for -1 and for a class that the project has no more."""
        return None if code < 0 or self.classes[code] in self.former else self.classes[code]

    def groups(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns the group of near-duplicates (n,) of each of these rows."""
        return np.asarray(self._take("group", indices).to_numpy(), np.int64)

    def predictions(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns the predicted class (n,) of each of these rows, as an index in `classes`."""
        return np.asarray(self._take("guess", indices).to_numpy(), np.int64)

    def select(self, label: str | None, min_probability: float, max_probability: float) -> NDArray[np.int64]:
        """Returns the rows whose prediction is `label`, or any class if it is None, with a probability in the range."""
        probability = self._numbers("probability").round(4)
        chosen = (probability >= np.float32(min_probability)) & (probability <= np.float32(max_probability))
        if label is not None:
            chosen &= self.table["guess"].to_numpy() == (self.classes.index(label) if label in self.classes else -1)
        return np.flatnonzero(chosen)

    def space(self, indices: NDArray[np.int64]) -> NDArray[np.float32] | None:
        """Returns the features (n, d) of these rows, None if a sample of the table has no embedding."""
        if "space" not in self.table.schema.names:
            return None
        (column,) = self.table["space"].chunks  # indexed as a numpy array: pyarrow is slow at taking rows of lists
        return np.asarray(column.values.to_numpy().reshape(len(column), -1)[indices], np.float32)

    def diverse_batch(
        self, decided: NDArray[np.int64], among: NDArray[np.int64], limit: int
    ) -> NDArray[np.int64] | None:
        """Returns the rows of a batch that covers the remaining doubt, in order of choice.

        Args:
            decided: rows of the samples that were decided since the run; they are not chosen.
            among: rows to choose from; of near-duplicates among them only the most doubtful one can be chosen.
            limit: how many to choose.

        Returns:
            None if samples have no embeddings, or too few of the random subset are left (see `choose_batch`).
        """
        if self.coverage is None:
            return None
        undecided = np.zeros(self.table.num_rows, bool)
        undecided[among] = True
        undecided[decided] = False
        doubt, bounds = self._numbers("doubt"), self._numbers("gain")
        undecided[self._duplicates(np.flatnonzero(undecided & ~np.isnan(bounds)), doubt)] = False
        candidates = Candidates(doubt=doubt, bounds=bounds, undecided=undecided)
        return choose_batch(self.coverage, candidates, self._features, decided=decided, limit=limit)

    def has_labels(self, given: Mapping[str, str]) -> bool:
        """Returns whether the table has each of these samples with its given label, or marks it as without reasons."""
        index = {name: k for k, name in enumerate(self.classes)}
        expected = {i: index.get(name, -1) for i, name in given.items() if i not in self.left_out}
        indices = self.indices(expected)
        labels = self._take("label", indices[indices >= 0]).to_numpy()
        return len(labels) == len(expected) and bool((labels == np.array(list(expected.values()), np.int64)).all())

    def labels(self) -> dict[str, str]:
        """Returns the given labels that a table of given labels judges: sample_id -> class name."""
        label = self.table["label"].to_pylist()
        return {i: self.classes[k] for i, k in zip(self.table["sample_id"].to_pylist(), label, strict=True) if k >= 0}

    def _duplicates(self, indices: NDArray[np.int64], doubt: Scores) -> NDArray[np.int64]:
        """Returns the rows among these that have a more doubtful near-duplicate."""
        from gradebook.mpl.ranking import drop_duplicates, rank

        distinct = drop_duplicates(rank(doubt[indices].astype(np.float64)), self.groups(indices))
        return np.delete(indices, distinct)

    def _ids_as_bytes(self) -> NDArray[np.bytes_] | None:
        """Returns the sample ids (N,) without a copy, None if they are not all equally long."""
        ids = self.table["sample_id"].combine_chunks()
        ends = np.frombuffer(ids.buffers()[1], np.int32, len(ids) + 1, 4 * ids.offset) if len(ids) else np.empty(0)
        width = int(ends[1] - ends[0]) if len(ids) else 0
        if not width or not (np.diff(ends) == width).all():
            return None
        return np.frombuffer(ids.buffers()[2], f"S{width}", len(ids), int(ends[0]))

    def _features(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        features = self.space(indices)
        assert features is not None
        return features

    def _take(self, name: str, indices: NDArray[np.int64]) -> Any:
        import pyarrow as pa

        return self.table[name].take(pa.array(indices))

    def _numbers(self, name: str) -> Scores:
        return np.asarray(self.table[name].to_numpy(), np.float32)

    def _duplicate_differs(self, rows: Any, labels: Mapping[str, str]) -> Scores:
        """Returns `gradebook.mpl.reasons.twin_differs` (n,) of some rows.

        The label of a near-duplicate takes precedence over its prediction.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        index = {name: k for k, name in enumerate(self.classes)}
        duplicates = rows["twins"].combine_chunks()
        ids, own = duplicates.flatten(), rows["label"].to_numpy()
        duplicate_labels = np.asarray(rows["twin_guesses"].combine_chunks().flatten().to_numpy(), np.int64).copy()
        codes = np.array([index.get(name, -1) for name in labels.values()] + [-1], np.int64)
        at = pc.index_in(ids, value_set=pa.array(list(labels), pa.string()))
        labelled = at.is_valid().to_numpy(zero_copy_only=False)
        duplicate_labels[labelled] = codes[at.fill_null(-1).to_numpy()[labelled]]
        parents = pc.list_parent_indices(duplicates).to_numpy()
        compared = (duplicate_labels >= 0) & (own[parents] >= 0)
        out = np.full(len(own), np.nan, np.float32)
        out[parents[compared]] = 0
        out[parents[compared & (duplicate_labels != own[parents])]] = 1
        return out
