"""A writer that dies between two of its commits."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gradebook.storage import lance_tables


@contextmanager
def dying_after(commits: int) -> Iterator[None]:
    """Lets so many commits of tables through and kills the block before the next one."""
    changing, left = lance_tables.Tables.open_for_writing, commits

    def mortal(tables, name, schema):
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return changing(tables, name, schema)

    with pytest.MonkeyPatch.context() as dead, pytest.raises(KeyboardInterrupt):
        dead.setattr(lance_tables.Tables, "open_for_writing", mortal)
        yield
