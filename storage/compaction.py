"""Compacts LanceDB tables: joins small files, updates indices and deletes old versions."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from gradebook.storage.files import is_disk_full

MAX_UNINDEXED_PART = 50  # the indices are updated once more than 1 in 50 rows is not indexed
OLD_VERSIONS_TTL = timedelta(hours=1)  # readers in other processes may still use an old version
ALL_VERSIONS_TTL = timedelta(days=36_500)


def keep_indices(table: Any, columns: Sequence[str], beyond: int) -> None:
    """Creates an index of each column for a table with more than `beyond` rows, and updates existing indices.

    Rows that are not indexed yet are scanned. They are indexed once they are more than `beyond` and more than a
    fiftieth of the table. A kill leaves the table as it was.
    """
    rows = table.count_rows()
    if rows <= beyond:
        return
    from lancedb.index import BTree

    known = {index.columns[0]: index.name for index in table.list_indices()}
    for column in columns:
        if column not in known:
            table.create_index(column, config=BTree())
    if any(
        table.index_stats(name).num_unindexed_rows > max(beyond, rows // MAX_UNINDEXED_PART) for name in known.values()
    ):
        compact(table, ALL_VERSIONS_TTL)  # the new files are checked later


def compact(table: Any, ttl: timedelta = OLD_VERSIONS_TTL) -> None:
    """Compacts small files and deletes versions older than `ttl`; does nothing if the disk is full."""
    try:
        table.optimize(cleanup_older_than=ttl)
    except RuntimeError as error:
        if not is_disk_full(error):
            raise
