"""Vectors: what a frozen backbone says of each sample's views, kept so that it runs over an image once.

Shape legend    N samples    V views of a sample, weak ones first    D numbers a view
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gradebook.storage.embedding_spaces import Space as Space
from gradebook.storage.embedding_spaces import find_space, is_new
from gradebook.storage.lance_tables import Tables, one_of, quoted
from gradebook.storage.project import ProjectError
from gradebook.storage.vector_index import COLUMN, FEW, nearest, update_indices

Views = NDArray[np.float16]


class Vectors(Protocol):
    """What every keeper of vectors does. A sample's vectors, once added, never change."""

    def spaces(self) -> list[Space]:
        """Returns the spaces in the order they were made."""

    def create(self, space: Space) -> None:
        """Makes room for a backbone's vectors; the same space again is fine, another one a `ProjectError`."""

    def add(self, backbone: str, sample_ids: Sequence[str], views: Views) -> None:
        """Adds the (N, V, D) views of N samples; a sample that has its vectors keeps them.

        Raises:
            ValueError: the shape or type is not the space's, or a number is not finite.
            ProjectError: the backbone has no space.
        """

    def missing(self, backbone: str, sample_ids: Sequence[str]) -> list[str]:
        """Returns those of the ids that have no vectors, in the order given."""

    def ids(self, backbone: str) -> list[str]:
        """Returns the ids of the samples that have vectors, in the order they were added."""

    def read(self, backbone: str, sample_ids: Sequence[str], views: int | None = None) -> Views:
        """Returns the (N, V, D) views in the order asked, or only the first so many `views` of each.

        Raises:
            ProjectError: a sample has no vectors, or the backbone no space.
        """

    def nearest(
        self, backbone: str, sample_id: str, k: int, among: Collection[str] | None = None
    ) -> list[tuple[str, float]]:
        """Returns the `k` samples most like this one and their cosine similarity in [-1, 1], most similar first.

        Views 0 are compared. The sample itself is left out, and so are vectors that are all zero. Of many thousand
        samples a near one may be missed (`gradebook.storage.vector_index`).
        """

    def nearest_to(
        self, backbone: str, vector: NDArray[np.floating], k: int, among: Collection[str] | None = None
    ) -> list[tuple[str, float]]:
        """As `nearest`, of a vector (D,) of anything: a sample that it is of is the first to be found."""

    def update_index(self, backbone: str) -> None:
        """Makes searches quick after many additions; says nothing of a backbone without vectors."""

    def count(self, backbone: str) -> int:
        """Returns how many samples have vectors."""


class MemoryVectors:
    """Vectors that last as long as their object."""

    def __init__(self) -> None:
        self._spaces: dict[str, Space] = {}
        self._views: dict[str, dict[str, Views]] = {}

    def spaces(self) -> list[Space]:
        """See `Vectors.spaces`."""
        return list(self._spaces.values())

    def create(self, space: Space) -> None:
        """See `Vectors.create`."""
        if is_new(self.spaces(), space):
            self._spaces[space.backbone] = space
            self._views[space.backbone] = {}

    def add(self, backbone: str, sample_ids: Sequence[str], views: Views) -> None:
        """See `Vectors.add`."""
        _check(find_space(self.spaces(), backbone), sample_ids, views)
        for sample_id, view in zip(sample_ids, views, strict=True):
            self._views[backbone].setdefault(sample_id, view.copy())

    def missing(self, backbone: str, sample_ids: Sequence[str]) -> list[str]:
        """See `Vectors.missing`."""
        find_space(self.spaces(), backbone)
        return [sample_id for sample_id in sample_ids if sample_id not in self._views[backbone]]

    def ids(self, backbone: str) -> list[str]:
        """See `Vectors.ids`."""
        return list(self._views.get(backbone, {}))

    def read(self, backbone: str, sample_ids: Sequence[str], views: int | None = None) -> Views:
        """See `Vectors.read`."""
        space = find_space(self.spaces(), backbone)
        out = np.empty((len(sample_ids), views or space.weak + space.strong, space.dim), np.float16)
        for row, sample_id in enumerate(sample_ids):
            if sample_id not in self._views[backbone]:
                raise _no_vectors(backbone, sample_id)
            out[row] = self._views[backbone][sample_id][:views]
        return out

    def nearest(
        self, backbone: str, sample_id: str, k: int, among: Collection[str] | None = None
    ) -> list[tuple[str, float]]:
        """See `Vectors.nearest`."""
        others = set(self._views[backbone] if among is None else among) - {sample_id}
        return self.nearest_to(backbone, self.read(backbone, [sample_id])[0, 0], k, others)

    def nearest_to(
        self, backbone: str, vector: NDArray[np.floating], k: int, among: Collection[str] | None = None
    ) -> list[tuple[str, float]]:
        """See `Vectors.nearest_to`."""
        if not np.any(vector):
            return []
        query = vector.astype(np.float32)
        kept = self._views[backbone] if among is None else set(among) & self._views[backbone].keys()
        scores = {other: _cosine(query, self._views[backbone][other][0]) for other in kept}
        ranked = sorted((-score, other) for other, score in scores.items() if score is not None)
        return [(other, -score) for score, other in ranked[:k]]

    def update_index(self, backbone: str) -> None:
        """See `Vectors.update_index`."""

    def count(self, backbone: str) -> int:
        """See `Vectors.count`."""
        return len(self._views.get(backbone, {}))


class LanceVectors:
    """Vectors in LanceDB: a table a backbone with a column a view, and the table `spaces`."""

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
        _check(space := find_space(self.spaces(), backbone), sample_ids, views)
        with self._tables.write_lock():
            known = set(self.ids(backbone))
            first = {sample_id: row for row, sample_id in reversed(list(enumerate(sample_ids)))}
            new = sorted(row for sample_id, row in first.items() if sample_id not in known)
            if new:
                with self._tables.open_for_writing(table_name(backbone), _schema(space)) as table:
                    table.add(_rows(space, [sample_ids[row] for row in new], views[new]))

    def missing(self, backbone: str, sample_ids: Sequence[str]) -> list[str]:
        """See `Vectors.missing`."""
        find_space(self.spaces(), backbone)
        known = set(self.ids(backbone))
        return [sample_id for sample_id in sample_ids if sample_id not in known]

    def ids(self, backbone: str) -> list[str]:
        """See `Vectors.ids`."""
        rows = self._tables.read(table_name(backbone), ["sample_id"])
        return [] if rows is None else rows["sample_id"].to_pylist()

    def read(self, backbone: str, sample_ids: Sequence[str], views: int | None = None) -> Views:
        """See `Vectors.read`."""
        space = find_space(self.spaces(), backbone)
        places = {sample_id: row for row, sample_id in enumerate(dict.fromkeys(sample_ids))}
        out = np.empty((len(places), views or space.weak + space.strong, space.dim), np.float16)
        found = np.zeros(len(places), bool)
        if places:
            self._fill(backbone, places, out, found)
        if not found.all():
            raise _no_vectors(backbone, list(places)[int(np.argmin(found))])
        whole = len(places) == len(sample_ids)
        return out if whole else np.asarray(out[[places[sample_id] for sample_id in sample_ids]])

    def nearest(
        self, backbone: str, sample_id: str, k: int, among: Collection[str] | None = None
    ) -> list[tuple[str, float]]:
        """See `Vectors.nearest`."""
        table: Any = self._tables.open(table_name(backbone))
        query = self.read(backbone, [sample_id])[0, 0] if table is None else self._plain(table, backbone, sample_id)
        kept = None if among is None else set(among) - {sample_id}
        if k < 1 or not np.any(query) or (kept is not None and not kept):
            return []
        return nearest(table, sample_id, query, k, kept)

    def nearest_to(
        self, backbone: str, vector: NDArray[np.floating], k: int, among: Collection[str] | None = None
    ) -> list[tuple[str, float]]:
        """See `Vectors.nearest_to`."""
        table: Any = self._tables.open(table_name(backbone))
        kept = None if among is None else set(among)
        if table is None or k < 1 or not np.any(vector) or (kept is not None and not kept):
            return []
        unit = vector.astype(np.float32) / np.linalg.norm(vector.astype(np.float32))
        return nearest(table, None, unit.astype(np.float16), k, kept)

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

    def _plain(self, table: Any, backbone: str, sample_id: str) -> NDArray[np.float16]:
        """Returns a sample's view 0 (D,)."""
        rows = table.search().where(f"sample_id = {quoted(sample_id)}").select([COLUMN]).to_arrow()
        if not rows.num_rows:
            raise _no_vectors(backbone, sample_id)
        return np.asarray(rows[COLUMN].combine_chunks().flatten().to_numpy())

    def _fill(self, backbone: str, rows: Mapping[str, int], out: Views, found: NDArray[np.bool_]) -> None:
        """Writes the views of samples to their rows of `out` batch by batch, so memory holds them once."""
        table = self._tables.open(table_name(backbone))
        if table is None:
            return
        names = [f"view_{view}" for view in range(out.shape[1])]
        query = table.search().select(["sample_id", *names])
        if len(rows) <= FEW:
            query = query.where(one_of("sample_id", rows))
        for batch in query.to_batches():
            places = np.array([rows.get(sample_id, -1) for sample_id in batch["sample_id"].to_pylist()], np.int64)
            asked = places >= 0
            found[places[asked]] = True
            for view, name in enumerate(names):
                out[places[asked], view] = batch[name].flatten().to_numpy().reshape(len(places), -1)[asked]


def _check(space: Space, sample_ids: Sequence[str], views: Views) -> None:
    expected = (len(sample_ids), space.weak + space.strong, space.dim)
    if views.dtype != np.float16 or views.shape != expected:
        raise ValueError(f"views are {views.dtype} {views.shape}, {space.backbone} takes float16 {expected}")
    if not np.isfinite(views).all():
        raise ValueError(f"{space.backbone} gave vectors that are not finite: they may overflow float16, scale them")


def _no_vectors(backbone: str, sample_id: str) -> ProjectError:
    return ProjectError(f"sample {sample_id} has no vectors of {backbone}: gradebook embed --backbone {backbone}")


def _cosine(query: NDArray[np.float32], other: Views) -> float | None:
    norms = float(np.linalg.norm(query) * np.linalg.norm(other.astype(np.float32)))
    return float(query @ other.astype(np.float32)) / norms if norms > 0 else None


def table_name(backbone: str) -> str:
    """Returns the name of a backbone's table. Only letters, digits and `_-.` may stand in one."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "_.") else f"-{ord(c):x}-" for c in backbone)
    return f"vectors-{plain}"


def _schema(space: Space) -> Any:
    import pyarrow as pa

    view = pa.list_(pa.float16(), space.dim)
    return pa.schema([("sample_id", pa.string()), *((f"view_{n}", view) for n in range(space.weak + space.strong))])


def _rows(space: Space, sample_ids: Sequence[str], views: Views) -> Any:
    import pyarrow as pa

    columns = [
        pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(views[:, n]).ravel()), space.dim)
        for n in range(views.shape[1])
    ]
    return pa.table([pa.array(sample_ids), *columns], schema=_schema(space))
