"""Nearest-neighbour search in a LanceDB table: exact for small tables, with an index for large ones.

The index is IVF_FLAT: uncompressed vectors in cells around centres. A search compares only the nearest cells; its
recall is in docs/results.md. Rows that are added after the index was built are compared one by one until
`update_indices`.
"""

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradebook.storage.lance_tables import one_of

COLUMN = "view_0"
MAX_IDS_IN_CONDITION = 2_000  # more ids are looked up by reading the whole table
INDEX_FROM = 50_000  # rows; an exact search of so many takes 0.1 to 0.2 s
CELL_ROWS = 1_000  # rows per cell, on average
PROBES = 24  # cells that a search compares
SAMPLE_RATE, MAX_ITERATIONS = 64, 12  # of k-means for the cells' centres; the first is rows per cell
WIDEN = 8  # factor by which a search requests more results, because some may be filtered out

Neighbours = list[tuple[str, float]]  # sample_id, cosine similarity


def update_indices(table: Any) -> None:
    """Creates the indices of a large table, and again once it has doubled; otherwise indexes the new rows.

    A kill leaves the table as it was; searches without an index are correct, only slower.
    """
    rows = table.count_rows()
    if rows < INDEX_FROM:
        return
    from lancedb.index import BTree, IvfFlat

    names = [index.name for index in table.list_indices()]
    if "sample_id_idx" not in names:
        table.create_index("sample_id", config=BTree())
    cells = next((int(name.split("-")[1]) for name in names if name.startswith("cells-")), 0)
    if rows > 2 * cells * CELL_ROWS:
        config = IvfFlat(
            distance_type="cosine",
            num_partitions=rows // CELL_ROWS,
            sample_rate=SAMPLE_RATE,
            max_iterations=MAX_ITERATIONS,
        )
        table.create_index(COLUMN, config=config, name=f"cells-{rows // CELL_ROWS}")
        if cells:
            table.drop_index(f"cells-{cells}")
    elif any(table.index_stats(name).num_unindexed_rows for name in names):
        table.optimize()


def nearest(
    table: Any,
    sample_id: str | None,
    query: NDArray[np.float16],
    k: int,
    among: Collection[str] | None,
    *,
    exact: bool = False,
) -> Neighbours:
    """Returns the `k` samples most similar to a vector, most similar first.

    Args:
        table: with the columns `sample_id` and `COLUMN`.
        sample_id: a sample to leave out, such as the vector's own; None for none.
        query: (D,) the vector, not all zero.
        k: at least 1.
        among: only these samples; None for all.
        exact: compare every row even if there is an index.
    """
    if among is not None and len(among) <= MAX_IDS_IN_CONDITION:
        return _search(table, query, k, one_of("sample_id", among), exact=True)
    wide = k + 1 if among is None else WIDEN * k
    while True:
        others = [pair for pair in _search(table, query, wide, None, exact=exact) if pair[0] != sample_id]
        wanted = others if among is None else [pair for pair in others if pair[0] in among]
        if len(wanted) >= k or len(others) < wide - 1:
            break
        if wide > MAX_IDS_IN_CONDITION * WIDEN:
            return _scan(table, query, k, among or ())
        wide *= WIDEN
    if among is not None and len(wanted) < min(k, len(among)):
        return _scan(table, query, k, among)  # the nearest cells have too few of them
    return wanted[:k]


def _search(table: Any, query: NDArray[np.float16], k: int, where: str | None, *, exact: bool) -> Neighbours:
    search = table.search(query, vector_column_name=COLUMN).distance_type("cosine").nprobes(PROBES)
    if exact:
        search = search.bypass_vector_index()
    if where is not None:
        search = search.where(where, prefilter=True)
    rows = search.limit(k).select(["sample_id", "_distance"]).to_arrow()
    return list(zip(rows["sample_id"].to_pylist(), (1 - rows["_distance"].to_numpy()).tolist(), strict=True))


def _scan(table: Any, query: NDArray[np.float16], k: int, among: Collection[str]) -> Neighbours:
    """Compares the query with every vector, which is faster than a condition with thousands of ids."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = pa.array(list(among), pa.string())
    unit = query.astype(np.float32) / np.linalg.norm(query.astype(np.float32))
    ids, scores = [], []
    for batch in table.search().select(["sample_id", COLUMN]).to_batches():
        vectors = batch[COLUMN].flatten().to_numpy().reshape(batch.num_rows, -1).astype(np.float32)
        norms = np.linalg.norm(vectors, axis=1)
        chosen = pc.is_in(batch["sample_id"], value_set=wanted).to_numpy(zero_copy_only=False) & (norms > 0)
        ids.append(batch["sample_id"].filter(pa.array(chosen)))
        scores.append(vectors[chosen] @ unit / norms[chosen])
    similarities = np.concatenate([np.empty(0, np.float32), *scores])
    best = np.argsort(-similarities, kind="stable")[:k]
    names = pa.chunked_array(ids, pa.string()).take(pa.array(best)).to_pylist()
    return list(zip(names, similarities[best].tolist(), strict=True))
