"""A record of each kind."""

import pytest

from gradebook.storage.lance_record import LanceRecord
from gradebook.storage.record import MemoryRecord, Record


@pytest.fixture(params=["memory", "lance"])
def record(request, tmp_path) -> Record:
    return {"memory": MemoryRecord, "lance": lambda: LanceRecord(tmp_path / "lance")}[request.param]()
