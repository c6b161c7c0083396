"""Vectors in LanceDB tables; see `gradebook.storage.vectors` for the interface.

Tables: `spaces`; for each backbone `vectors-NAME` with the plain views, and `vectors-NAME-augmented` with the others.
Older projects have all views in `vectors-NAME`. Reading works as it is; the first addition splits the table.

Shape legend    N samples    V views of a sample, weak ones first    D features of a view
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradebook.storage.embedding_spaces import Space, find_space, is_new
from gradebook.storage.lance_tables import Tables, one_of, quoted
from gradebook.storage.vector_index import COLUMN, MAX_IDS_IN_CONDITION, nearest, update_indices
from gradebook.storage.vectors import Views, check_views, no_vectors


class LanceVectors:
    """Vectors on disk, or on an object store."""

    def __init__(self, directory: Path, address: str = ""):
        self._tables = Tables(directory, address)

    def spaces(self) -> list[Space]:
        """See `Vectors.spaces`."""
        rows = self._tables.read("spaces", ["space"])
        return [] if rows is None else [Space(**json.loads(text)) for text in rows.column("space").to_pylist()]

    def create(self, space: Space) -> None:
        """See `Vectors.create`."""
        import pyarrow as pa

        with self._tables.write_lock():
            if is_new(self.spaces(), space):
                row = pa.table({"space": [json.dumps(asdict(space))]})
                with self._tables.open_for_writing("spaces", row.schema) as table:
                    table.add(row)

    def add(self, backbone: str, sample_ids: Sequence[str], views: Views) -> None:
        """See `Vectors.add`."""
        space = find_space(self.spaces(), backbone)
        check_views(space, sample_ids, views, (1, _count(space)))
        with self._tables.write_lock():
            self._split_up(space)
            self._add(table_name(backbone), sample_ids, views[:, :1], first=0)
            if views.shape[1] > 1:
                self._add(augmented_table_name(backbone), sample_ids, views[:, 1:], first=1)

    def add_augmented(self, backbone: str, sample_ids: Sequence[str], views: Views) -> None:
        """See `Vectors.add_augmented`."""
        space = find_space(self.spaces(), backbone)
        check_views(space, sample_ids, views, (_count(space) - 1,))
        with self._tables.write_lock():
            self._split_up(space)
            self._add(augmented_table_name(backbone), sample_ids, views, first=1)

    def missing(self, backbone: str, sample_ids: Sequence[str]) -> list[str]:
        """See `Vectors.missing`."""
        find_space(self.spaces(), backbone)
        known = set(self.ids(backbone))
        return [sample_id for sample_id in sample_ids if sample_id not in known]

    def missing_augmented(self, backbone: str, sample_ids: Sequence[str]) -> list[str]:
        """See `Vectors.missing_augmented`."""
        space = find_space(self.spaces(), backbone)
        if _count(space) == 1:
            return []
        known = set(self._ids(self._augmented_table(backbone)))
        return [sample_id for sample_id in sample_ids if sample_id not in known]

    def ids(self, backbone: str) -> list[str]:
        """See `Vectors.ids`."""
        return self._ids(table_name(backbone))

    def read(self, backbone: str, sample_ids: Sequence[str], views: int | None = None) -> Views:
        """See `Vectors.read`."""
        space = find_space(self.spaces(), backbone)
        count = views or (1 if self.missing_augmented(backbone, sample_ids) else _count(space))
        rows = {sample_id: row for row, sample_id in enumerate(dict.fromkeys(sample_ids))}
        out = np.empty((len(rows), count, space.dim), np.float16)
        self._fill(backbone, table_name(backbone), rows, out, range(1))
        if count > 1:
            self._fill(backbone, self._augmented_table(backbone), rows, out, range(1, count))
        unique = len(rows) == len(sample_ids)
        return out if unique else np.asarray(out[[rows[sample_id] for sample_id in sample_ids]])

    def nearest(
        self, backbone: str, sample_id: str, k: int, among: Collection[str] | None = None
    ) -> list[tuple[str, float]]:
        """See `Vectors.nearest`."""
        table: Any = self._tables.open(table_name(backbone))
        if table is None:
            raise no_vectors(backbone, sample_id)
        query = self._plain(table, backbone, sample_id)
        candidates = None if among is None else set(among) - {sample_id}
        if k < 1 or not np.any(query) or (candidates is not None and not candidates):
            return []
        return nearest(table, sample_id, query, k, candidates)

    def nearest_to(
        self, backbone: str, vector: NDArray[np.floating], k: int, among: Collection[str] | None = None
    ) -> list[tuple[str, float]]:
        """See `Vectors.nearest_to`."""
        table: Any = self._tables.open(table_name(backbone))
        candidates = None if among is None else set(among)
        if table is None or k < 1 or not np.any(vector) or (candidates is not None and not candidates):
            return []
        unit = vector.astype(np.float32) / np.linalg.norm(vector.astype(np.float32))
        return nearest(table, None, unit.astype(np.float16), k, candidates)

    def update_index(self, backbone: str) -> None:
        """See `Vectors.update_index`."""
        with self._tables.write_lock():
            table = self._tables.open(table_name(backbone))
            if table is not None:
                update_indices(table)

    def count(self, backbone: str) -> int:
        """See `Vectors.count`."""
        table = self._tables.open(table_name(backbone))
        return 0 if table is None else int(table.count_rows())

    def _ids(self, name: str) -> list[str]:
        rows = self._tables.read(name, ["sample_id"])
        return [] if rows is None else rows["sample_id"].to_pylist()

    def _add(self, name: str, sample_ids: Sequence[str], views: Views, first: int) -> None:
        """Adds the samples that a table does not have yet; `first` is the number of their first view."""
        known = set(self._ids(name))
        rows = {sample_id: row for row, sample_id in reversed(list(enumerate(sample_ids)))}
        new = sorted(row for sample_id, row in rows.items() if sample_id not in known)
        if new:
            data = _rows([sample_ids[row] for row in new], views[new], first)
            with self._tables.open_for_writing(name, data.schema) as table:
                table.add(data)

    def _augmented_table(self, backbone: str) -> str:
        """Returns the name of the table that has the augmented views."""
        table: Any = self._tables.open(table_name(backbone))
        all_in_one = table is not None and "view_1" in table.schema.names
        return table_name(backbone) if all_in_one else augmented_table_name(backbone)

    def _split_up(self, space: Space) -> None:
        """Moves the augmented views out of a table that has all views. A kill leaves that table unchanged."""
        import pyarrow as pa

        name, other = table_name(space.backbone), augmented_table_name(space.backbone)
        if self._augmented_table(space.backbone) == other:
            return
        table: Any = self._tables.open(name)
        columns = [f"view_{view}" for view in range(1, _count(space))]
        self._tables.drop(other)
        batches = table.search().select(["sample_id", *columns]).to_batches()
        schema = pa.schema([table.schema.field(column) for column in ("sample_id", *columns)])
        with self._tables.open_for_writing(other, schema) as new:
            for batch in batches:
                new.add(pa.Table.from_batches([batch]))
        table.drop_columns(columns)

    def _plain(self, table: Any, backbone: str, sample_id: str) -> NDArray[np.float16]:
        """Returns a sample's view 0 (D,)."""
        rows = table.search().where(f"sample_id = {quoted(sample_id)}").select([COLUMN]).to_arrow()
        if not rows.num_rows:
            raise no_vectors(backbone, sample_id)
        return np.asarray(rows[COLUMN].combine_chunks().flatten().to_numpy())

    def _fill(self, backbone: str, name: str, rows: Mapping[str, int], out: Views, views: range) -> None:
        """Copies views of samples to their rows of `out` batch by batch, so that only one copy is in memory."""
        table, filled = self._tables.open(name), np.zeros(len(rows), bool)
        columns = [f"view_{view}" for view in views]
        if rows and table is not None:
            query = table.search().select(["sample_id", *columns])
            query = query.where(one_of("sample_id", rows)) if len(rows) <= MAX_IDS_IN_CONDITION else query
            for batch in query.to_batches():
                at = np.array([rows.get(sample_id, -1) for sample_id in batch["sample_id"].to_pylist()], np.int64)
                wanted = at >= 0
                filled[at[wanted]] = True
                for view, column in zip(views, columns, strict=True):
                    out[at[wanted], view] = batch[column].flatten().to_numpy().reshape(len(at), -1)[wanted]
        if not filled.all():
            raise no_vectors(backbone, list(rows)[int(np.argmin(filled))])


def table_name(backbone: str) -> str:
    """Returns the name of a backbone's table, which may only contain letters, digits and `_-.`."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "_.") else f"-{ord(c):x}-" for c in backbone)
    return f"vectors-{plain}"


def augmented_table_name(backbone: str) -> str:
    """Returns the name of the table of a backbone's augmented views."""
    return f"{table_name(backbone)}-augmented"


def _count(space: Space) -> int:
    return space.weak + space.strong


def _rows(sample_ids: Sequence[str], views: Views, first: int) -> Any:
    import pyarrow as pa

    dim = views.shape[2]
    columns = {
        f"view_{first + n}": pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(views[:, n]).ravel()), dim)
        for n in range(views.shape[1])
    }
    return pa.table({"sample_id": pa.array(sample_ids, pa.string()), **columns})
