"""A fold that is killed is made good by the next, also where its run was resumed in between."""

import random
import signal
import time
from pathlib import Path

import pytest

from gradebook.storage import lance_record, lance_tables
from gradebook.storage.lance_record import LanceRecord
from tests.crash_injection import dying_after
from tests.forkserver import forked
from tests.polling import until
from tests.storage.segments import row, steps, write


@pytest.mark.parametrize("killed_at", ["history", "folded", "signals"])
def test_a_fold_killed_before_any_of_its_writes_is_completed_later(tmp_path, monkeypatch, killed_at):
    write(tmp_path / "r", "rank0-000001", [row(1, "s0", teacher_label=0)])
    record = LanceRecord(tmp_path / "lance")
    changing = lance_tables.Tables.open_for_writing

    def dying(tables, name, schema):
        if name == killed_at:
            raise KeyboardInterrupt
        return changing(tables, name, schema)

    with monkeypatch.context() as dead:
        dead.setattr(lance_tables.Tables, "open_for_writing", dying)
        with pytest.raises(KeyboardInterrupt):
            record.fold("a", tmp_path / "r")
            record.dynamics("a")
    record.fold("a", tmp_path / "r")
    assert steps(record) == [("a", 1)]
    assert record.dynamics("a")["steps"].to_pylist() == [1]
    assert record.fold("a", tmp_path / "r") == 0


@pytest.mark.parametrize("survived", range(3))
def test_a_fold_killed_before_a_resume_leaves_no_removed_rows(tmp_path, survived):
    """The segment that a fold was killed over is gone, and so is every name for it: only `folded` lists its rows."""
    write(tmp_path / "r", "rank0-000001", [row(1, "s0")])
    record = LanceRecord(tmp_path / "lance")
    record.fold("a", tmp_path / "r")
    late = write(tmp_path / "r", "rank0-000002", [row(2, "s0", teacher_label=0)])
    with dying_after(survived):
        record.fold("a", tmp_path / "r")
    late.unlink()
    record.fold("a", tmp_path / "r")
    assert steps(record) == [("a", 1)]
    assert record.rows("a") == 1
    write(tmp_path / "r", "rank0-000002", [row(2, "s0", teacher_label=1)])
    record.fold("a", tmp_path / "r")
    assert [row["teacher_label"] for row in record.history("s0")] == [None, "dog"]


def test_kill_9_at_a_random_moment_loses_and_duplicates_nothing(tmp_path):
    segments = 40
    for n in range(segments):
        write(tmp_path / "r", f"rank0-{n:06d}", [row(n, "s0", teacher_label=n % 3), row(n, "s1")])
    with forked(_fold, tmp_path) as folding:
        until((tmp_path / "lance").exists)
        time.sleep(random.uniform(0, 0.3))
        folding.kill()
    assert folding.exitcode in (0, -signal.SIGKILL)
    record = LanceRecord(tmp_path / "lance")
    record.fold("a", tmp_path / "r")
    assert steps(record) == [("a", n) for n in range(segments)]
    assert record.dynamics("a")["steps"].to_pylist() == [segments, segments]


def _fold(directory: Path) -> None:
    lance_record.SEGMENT_BATCH = 2
    LanceRecord(directory / "lance").fold("a", directory / "r")
