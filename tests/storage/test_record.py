"""One contract for every record: folding, resumed runs, and the history of a sample."""

import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradebook.storage import lance_tables, training_dynamics
from gradebook.storage.lance_record import LanceRecord, key_of
from gradebook.storage.project import ProjectError
from gradebook.storage.record import MemoryRecord
from gradebook.storage.segments import RECORDED, history_schema, segments_in
from tests.storage.segments import row, steps, write


def test_an_empty_record_is_empty(record, tmp_path):
    assert record.fold("mpl-001", tmp_path / "nowhere") == 0
    assert record.history("s0") == []
    assert record.dynamics("mpl-001").num_rows == 0
    assert record.dynamics("mpl-001").schema == training_dynamics.schema()
    record.forget("mpl-001")


def test_recorded_predictions_are_read_back_with_class_names(record, tmp_path):
    recorded = {"teacher_label": 2, "teacher_probability": 0.5, "runner_up": 0, "best_label": 1, "best_gain": -0.25}
    write(tmp_path / "r", "rank0-000001", [row(3, "it's", **recorded), row(3, "s1", student_label=0, feedback=1.5)])
    assert record.fold("it's run", tmp_path / "r") == 2
    names = {"teacher_label": "ünï", "runner_up": "cat", "best_label": "dog"}
    (back,) = record.history("it's")
    assert back == {"run": "it's run", "step": 3, **dict.fromkeys(RECORDED), **recorded, **names}
    (back,) = record.history("s1", "it's run")
    assert back == {"run": "it's run", "step": 3, **dict.fromkeys(RECORDED), "student_label": "cat", "feedback": 1.5}


def test_history_is_in_order_of_run_and_step_whatever_the_order_of_segments(record, tmp_path):
    write(tmp_path / "a", "rank1-000001", [row(1, "s0"), row(3, "s0")])
    write(tmp_path / "a", "rank0-000002", [row(4, "s0"), row(2, "s0")])
    write(tmp_path / "b", "rank0-000001", [row(1, "s0")])
    record.fold("b", tmp_path / "b")
    record.fold("a", tmp_path / "a")
    assert steps(record) == [("a", 1), ("a", 2), ("a", 3), ("a", 4), ("b", 1)]
    assert steps(record, run="b") == [("b", 1)]
    assert steps(record, run="c") == []


def test_the_rows_of_some_samples_are_those_of_each_of_them(record, tmp_path):
    assert record.histories(["s0"], "a").num_rows == 0
    write(tmp_path / "a", "rank0-000001", [row(1, "s0"), row(2, "it's", teacher_label=1), row(3, "s2")])
    write(tmp_path / "b", "rank0-000001", [row(4, "s0")])
    for run in ("a", "b"):
        record.fold(run, tmp_path / run)
    found = record.histories(["it's", "s0", "nobody"], "a").to_pylist()
    assert sorted((entry["sample_id"], entry["step"], entry["teacher_label"]) for entry in found) == [
        ("it's", 2, "dog"),
        ("s0", 1, None),
    ]
    assert record.histories([], "a").num_rows == 0


def test_samples_that_share_a_key_keep_their_own_history(record, tmp_path):
    assert key_of("plumless") == key_of("buckeroo")
    write(tmp_path / "a", "rank0-000001", [row(1, "plumless"), row(2, "buckeroo"), row(3, "plumless")])
    record.fold("a", tmp_path / "a")
    assert [entry["step"] for entry in record.history("plumless")] == [1, 3]
    assert [entry["step"] for entry in record.history("buckeroo", "a")] == [2]
    assert record.histories(["buckeroo"], "a")["step"].to_pylist() == [2]


def test_a_history_is_complete_though_rows_move_while_it_is_read(tmp_path, monkeypatch):
    record = LanceRecord(tmp_path / "lance")
    for n in range(4):
        write(tmp_path / "r", f"rank0-{n}", [row(n, "s0"), row(n, "s1")])
        record.fold("a", tmp_path / "r")

    def after_a_merge():
        table = LanceRecord(tmp_path / "lance")._tables.open("history")
        assert table is not None
        table.delete("step = 0")
        table.optimize()
        return history_schema()

    monkeypatch.setattr("gradebook.storage.lance_record.history_schema", after_a_merge)
    assert [entry["step"] for entry in record.history("s1")] == [0, 1, 2, 3]
    monkeypatch.undo()
    assert [entry["step"] for entry in record.history("s1")] == [1, 2, 3]


def test_a_history_of_an_earlier_version_continues(tmp_path):
    """Names that repeat were plain strings then, and there was no key."""
    plain = [(f.name, pa.string() if pa.types.is_dictionary(f.type) else f.type) for f in history_schema()]
    with lance_tables.Tables(tmp_path / "lance").open_for_writing("history", pa.schema(plain)):
        pass
    write(tmp_path / "a", "rank0-000001", [row(1, "s0", teacher_label=1), row(2, "s1")])
    write(tmp_path / "a", "rank0-000002", [row(3, "s0", student_label=2)])
    old, new = LanceRecord(tmp_path / "lance"), MemoryRecord()
    assert old.fold("a", tmp_path / "a") == new.fold("a", tmp_path / "a") == 3
    assert old.history("s0") == new.history("s0") != []
    assert old.histories(["s0"], "a").to_pylist() == new.histories(["s0"], "a").to_pylist()
    assert old.dynamics("a").to_pylist() == new.dynamics("a").to_pylist()


def test_folding_again_changes_nothing_and_only_new_segments_count(record, tmp_path):
    write(tmp_path / "r", "rank0-000001", [row(1, "s0")])
    assert [record.fold("a", tmp_path / "r") for _ in range(3)] == [1, 0, 0]
    write(tmp_path / "r", "rank0-000002", [row(2, "s0"), row(2, "s1")])
    (tmp_path / "r" / ".rank0-000003.parquet").write_bytes(b"half written")
    assert [record.fold("a", tmp_path / "r") for _ in range(2)] == [2, 0]
    assert steps(record) == [("a", 1), ("a", 2)]


def test_a_resumed_run_removes_its_last_steps(record, tmp_path):
    write(tmp_path / "r", "rank0-000001", [row(1, "s0")])
    late = write(tmp_path / "r", "rank0-000002", [row(2, "s0", teacher_label=0)])
    record.fold("a", tmp_path / "r")
    late.unlink()
    assert record.fold("a", tmp_path / "r") == 0
    assert steps(record) == [("a", 1)]
    assert record.dynamics("a")["last_step"].to_pylist() == [1]


def test_a_segment_rewritten_under_its_name_replaces_the_old_one(record, tmp_path):
    path = write(tmp_path / "r", "rank0-000001", [row(1, "s0", teacher_label=0)])
    record.fold("a", tmp_path / "r")
    assert record.dynamics("a")["teacher_label"].to_pylist() == ["cat"]
    write(tmp_path / "r", "rank0-000001", [row(1, "s0", teacher_label=1)])
    os.utime(path, ns=(1, 1))  # even within one tick of the clock
    assert record.fold("a", tmp_path / "r") == 1
    assert [entry["teacher_label"] for entry in record.history("s0")] == ["dog"]
    assert record.dynamics("a")["teacher_label"].to_pylist() == ["dog"]


def test_all_runs_are_folded_at_once_and_only_what_is_new(record, tmp_path):
    runs = {name: tmp_path / name for name in ("a", "b", "it's")}
    for run in ("a", "b"):
        write(tmp_path / run, "rank0-000001", [row(1, "s0")])
    assert [record.fold_all(runs) for _ in range(2)] == [2, 0]
    write(tmp_path / "b", "rank0-000002", [row(2, "s0"), row(2, "s1")])
    (tmp_path / "a" / "rank0-000001.parquet").unlink()
    assert [record.fold_all(runs) for _ in range(2)] == [2, 0]
    assert steps(record) == [("b", 1), ("b", 2)]
    assert record.fold_all({}) == 0


def test_a_missing_directory_removes_nothing(record, tmp_path):
    write(tmp_path / "r", "rank0-000001", [row(1, "s0")])
    record.fold("a", tmp_path / "r")
    (tmp_path / "r").rename(tmp_path / "elsewhere")
    assert record.fold("a", tmp_path / "r") == 0
    assert steps(record) == [("a", 1)]


def test_folded_rows_are_reported_by_segment_and_add_up(record, tmp_path):
    assert (record.folded("a"), record.rows("a")) == ({}, 0)
    write(tmp_path / "r", "rank0-000001", [row(1, "s0")])
    late = write(tmp_path / "r", "rank0-000002", [row(2, "s0"), row(2, "s1")])
    for _ in range(2):
        record.fold("a", tmp_path / "r")
        found = segments_in(tmp_path / "r")
        assert record.folded("a") == {key: pq.read_metadata(path).num_rows for key, path in found.items()}
        assert record.rows("a") == sum(record.folded("a").values())
        assert record.compute_dynamics("a") == record.dynamics("a")
        late.unlink(missing_ok=True)
    assert record.rows("a") == 1
    record.forget("a")
    assert (record.folded("a"), record.rows("a")) == ({}, 0)


def test_forgetting_a_run_leaves_the_others(record, tmp_path):
    for run in ("a", "b"):
        write(tmp_path / run, "rank0-000001", [row(1, "s0", teacher_label=0)])
        record.fold(run, tmp_path / run)
        assert record.dynamics(run).num_rows == 1
    record.forget("a")
    assert steps(record) == [("b", 1)]
    assert (record.dynamics("a").num_rows, record.dynamics("b").num_rows) == (0, 1)
    record.clear()
    record.clear()
    assert (record.dynamics("b").num_rows, record.folded("b")) == (0, {})
    assert record.fold("a", tmp_path / "a") == 1, "the new run of that name is recorded"


@pytest.mark.parametrize("fault", ["truncated", "columns", "classes", "label"])
def test_a_segment_that_cannot_be_read_is_an_error_with_its_path(record, tmp_path, fault):
    path = write(tmp_path / "r", "rank0-000001", [row(1, "s0", teacher_label=1)])
    good = pq.read_table(path)
    if fault == "truncated":
        path.write_bytes(path.read_bytes()[:-20])
    elif fault == "columns":
        pq.write_table(good.drop_columns("feedback"), path)
    elif fault == "classes":
        pq.write_table(good.replace_schema_metadata({}), path)
    else:
        pq.write_table(good.replace_schema_metadata({b"classes": json.dumps(["one"]).encode()}), path)
    with pytest.raises(ProjectError, match=r"rank0-000001\.parquet cannot be read"):
        record.fold("a", tmp_path / "r")
    assert record.history("s0") == []


def test_a_long_history_gets_an_index_and_returns_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("gradebook.storage.lance_record.INDEX_FROM", 3)
    record = LanceRecord(tmp_path / "lance")
    for n in range(4):
        write(tmp_path / "r", f"rank0-{n}", [row(n, "s0"), row(n, "s1")])
        record.fold("a", tmp_path / "r")
    (tmp_path / "r" / "rank0-1.parquet").unlink()
    record.fold("a", tmp_path / "r")
    table = record._tables.open("history")
    assert table is not None
    assert [index.columns for index in table.list_indices()] == [["sample_key"]]
    assert steps(record) == [("a", 0), ("a", 2), ("a", 3)]
    write(tmp_path / "r", "rank0-4", [row(n, "s0") for n in range(4, 20)])
    record.fold("a", tmp_path / "r")
    assert table.index_stats("sample_key_idx").num_unindexed_rows == 0, "what came since is taken in"
    assert steps(record) == [("a", n) for n in range(20) if n != 1]


@pytest.mark.slow
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.booleans()), min_size=1, max_size=8))
def test_both_records_equal_the_disk_however_segments_change(tmp_path_factory, changes):
    root = tmp_path_factory.mktemp("record")
    both = [MemoryRecord(), LanceRecord(root / "lance")]
    (root / "r").mkdir()
    on_disk: dict[int, int] = {}
    for clock, (name, there, fold) in enumerate(changes):
        path = root / "r" / f"rank0-{name}.parquet"
        if there:
            write(root / "r", f"rank0-{name}", [row(clock, "s0", teacher_label=clock % 3)])
            os.utime(path, ns=(clock, clock))
            on_disk[name] = clock
        else:
            path.unlink(missing_ok=True)
            on_disk.pop(name, None)
        if fold:
            assert len({record.fold("a", root / "r") for record in both}) == 1
    for record in both:
        record.fold("a", root / "r")
        assert [entry["step"] for entry in record.history("s0")] == sorted(on_disk.values())
    assert both[0].dynamics("a") == both[1].dynamics("a")
