"""The vectors nearest to one in a table of LanceDB: every one compared while they are few, an index when they are many.

The index is IVF_FLAT: vectors are kept whole, in cells around centres, and a search looks at the nearest cells only;
what that misses stands in docs/results.md. Rows that came after the index was config are compared one by one, until
`update_indices`.
"""

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradebook.storage.lance_tables import one_of

COLUMN = "view_0"
MAX_IDS_IN_CONDITION = 2_000  # more ids are looked up by reading the whole table
INDEX_FROM = 50_000  # rows: comparing with so many takes a tenth of a second or two
CELL_ROWS = 1_000  # rows a cell, on average
PROBES = 24  # cells that a search looks at
SAMPLE_RATE, MAX_ITERATIONS = 64, 12  # of k-means for the cells' centres: rows a cell, and rounds
WIDEN = 8  # factor by which a search asks for more, where some results may be filtered out

Found = list[tuple[str, float]]  # sample_id, cosine similarity


def update_indices(table: Any) -> None:
    """Creates the indices of a large table, again once it has doubled, else adds the rows that are not indexed.

    A kill leaves the table as it was: searches are right without an index too, only slower.
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
) -> Found:
    """Returns the `k` rows most similar to a vector, the sample that it is of left out, most similar first.

    Args:
        table: has `sample_id` and `COLUMN`.
        sample_id: the sample; None where it is of none, or that one is to be found too.
        query: (D,) the vector, not all zero.
        k: at least 1.
        among: only these; None for all.
        exact: look at every row, though there is an index.
    """
    if among is not None and len(among) <= MAX_IDS_IN_CONDITION:
        return _searched(table, query, k, one_of("sample_id", among), exact=True)
    wide = k + 1 if among is None else WIDEN * k
    while True:
        found = [pair for pair in _searched(table, query, wide, None, exact=exact) if pair[0] != sample_id]
        shown = found if among is None else [pair for pair in found if pair[0] in among]
        if len(shown) >= k or len(found) < wide - 1:
            break
        if wide > MAX_IDS_IN_CONDITION * WIDEN:
            return _scan(table, query, k, among or ())
        wide *= WIDEN
    if among is not None and len(shown) < min(k, len(among)):
        return _scan(table, query, k, among)  # the cells looked at have too few of them
    return shown[:k]


def _searched(table: Any, query: NDArray[np.float16], k: int, where: str | None, *, exact: bool) -> Found:
    search = table.search(query, vector_column_name=COLUMN).distance_type("cosine").nprobes(PROBES)
    if exact:
        search = search.bypass_vector_index()
    if where is not None:
        search = search.where(where, prefilter=True)
    rows = search.limit(k).select(["sample_id", "_distance"]).to_arrow()
    return list(zip(rows["sample_id"].to_pylist(), (1 - rows["_distance"].to_numpy()).tolist(), strict=True))


def _scan(table: Any, query: NDArray[np.float16], k: int, kept: Collection[str]) -> Found:
    """Compares the query with every vector: quicker than a condition with thousands of ids."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = pa.array(list(kept), pa.string())
    unit = query.astype(np.float32) / np.linalg.norm(query.astype(np.float32))
    ids, scores = [], []
    for batch in table.search().select(["sample_id", COLUMN]).to_batches():
        vectors = batch[COLUMN].flatten().to_numpy().reshape(batch.num_rows, -1).astype(np.float32)
        norms = np.linalg.norm(vectors, axis=1)
        chosen = pc.is_in(batch["sample_id"], value_set=wanted).to_numpy(zero_copy_only=False) & (norms > 0)
        ids.append(batch["sample_id"].filter(pa.array(chosen)))
        scores.append(vectors[chosen] @ unit / norms[chosen])
    every = np.concatenate([np.empty(0, np.float32), *scores])
    best = np.argsort(-every, kind="stable")[:k]
    names = pa.chunked_array(ids, pa.string()).take(pa.array(best)).to_pylist()
    return list(zip(names, every[best].tolist(), strict=True))
