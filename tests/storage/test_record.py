"""One contract for every record: folding, crashes, resumed runs, and what a record comes to."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage import lance, signals
from storage.lance_record import LanceRecord, key_of
from storage.project import ProjectError
from storage.record import MemoryRecord, Record
from storage.segments import SAID, history_schema, segment_schema, segments_in

CLASSES = ["cat", "dog", "ünï"]


@pytest.fixture(params=["memory", "lance"])
def record(request, tmp_path) -> Record:
    return {"memory": MemoryRecord, "lance": lambda: LanceRecord(tmp_path / "lance")}[request.param]()


def row(step: int, sample_id: str, **said) -> dict:
    return {"step": step, "sample_id": sample_id, **dict.fromkeys(SAID), **said}


def write(directory: Path, name: str, rows: list[dict]) -> Path:
    """Writes a segment like a trainer does: whole, then renamed."""
    directory.mkdir(parents=True, exist_ok=True)
    draft, path = directory / f".{name}.draft", directory / f"{name}.parquet"
    pq.write_table(pa.Table.from_pylist(rows, segment_schema(CLASSES)), draft)
    draft.replace(path)
    return path


def steps(record: Record, sample_id: str = "s0", run: str | None = None) -> list[tuple[str, int]]:
    return [(said["run"], said["step"]) for said in record.history(sample_id, run)]


def test_an_empty_record_is_empty(record, tmp_path):
    assert record.fold("mpl-001", tmp_path / "nowhere") == 0
    assert record.history("s0") == []
    assert record.signals("mpl-001").num_rows == 0
    assert record.signals("mpl-001").schema == signals.schema()
    record.forget("mpl-001")


def test_what_was_said_comes_back_with_names(record, tmp_path):
    said = {"teacher_label": 2, "teacher_probability": 0.5, "runner_up": 0, "best_label": 1, "best_gain": -0.25}
    write(tmp_path / "r", "rank0-000001", [row(3, "it's", **said), row(3, "s1", student_label=0, feedback=1.5)])
    assert record.fold("it's run", tmp_path / "r") == 2
    names = {"teacher_label": "ünï", "runner_up": "cat", "best_label": "dog"}
    (back,) = record.history("it's")
    assert back == {"run": "it's run", "step": 3, **dict.fromkeys(SAID), **said, **names}
    (back,) = record.history("s1", "it's run")
    assert back == {"run": "it's run", "step": 3, **dict.fromkeys(SAID), "student_label": "cat", "feedback": 1.5}


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
    assert sorted((said["sample_id"], said["step"], said["teacher_label"]) for said in found) == [
        ("it's", 2, "dog"),
        ("s0", 1, None),
    ]
    assert record.histories([], "a").num_rows == 0


def test_samples_that_share_a_key_keep_their_own_history(record, tmp_path):
    assert key_of("plumless") == key_of("buckeroo")
    write(tmp_path / "a", "rank0-000001", [row(1, "plumless"), row(2, "buckeroo"), row(3, "plumless")])
    record.fold("a", tmp_path / "a")
    assert [said["step"] for said in record.history("plumless")] == [1, 3]
    assert [said["step"] for said in record.history("buckeroo", "a")] == [2]
    assert record.histories(["buckeroo"], "a")["step"].to_pylist() == [2]


def test_a_history_is_whole_though_rows_move_while_it_is_read(tmp_path, monkeypatch):
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

    monkeypatch.setattr("storage.lance_record.history_schema", after_a_merge)
    assert [said["step"] for said in record.history("s1")] == [0, 1, 2, 3]
    monkeypatch.undo()
    assert [said["step"] for said in record.history("s1")] == [1, 2, 3]


def test_a_history_that_an_earlier_version_began_goes_on(tmp_path):
    """Names that repeat were plain strings then, and there was no key."""
    plain = [(f.name, pa.string() if pa.types.is_dictionary(f.type) else f.type) for f in history_schema()]
    with lance.Tables(tmp_path / "lance").changing("history", pa.schema(plain)):
        pass
    write(tmp_path / "a", "rank0-000001", [row(1, "s0", teacher_label=1), row(2, "s1")])
    write(tmp_path / "a", "rank0-000002", [row(3, "s0", student_label=2)])
    old, new = LanceRecord(tmp_path / "lance"), MemoryRecord()
    assert old.fold("a", tmp_path / "a") == new.fold("a", tmp_path / "a") == 3
    assert old.history("s0") == new.history("s0") != []
    assert old.histories(["s0"], "a").to_pylist() == new.histories(["s0"], "a").to_pylist()
    assert old.signals("a").to_pylist() == new.signals("a").to_pylist()


def test_folding_again_changes_nothing_and_only_new_segments_count(record, tmp_path):
    write(tmp_path / "r", "rank0-000001", [row(1, "s0")])
    assert [record.fold("a", tmp_path / "r") for _ in range(3)] == [1, 0, 0]
    write(tmp_path / "r", "rank0-000002", [row(2, "s0"), row(2, "s1")])
    (tmp_path / "r" / ".rank0-000003.parquet").write_bytes(b"half written")
    assert [record.fold("a", tmp_path / "r") for _ in range(2)] == [2, 0]
    assert steps(record) == [("a", 1), ("a", 2)]


def test_a_resumed_run_takes_back_its_last_steps(record, tmp_path):
    write(tmp_path / "r", "rank0-000001", [row(1, "s0")])
    late = write(tmp_path / "r", "rank0-000002", [row(2, "s0", teacher_label=0)])
    record.fold("a", tmp_path / "r")
    late.unlink()
    assert record.fold("a", tmp_path / "r") == 0
    assert steps(record) == [("a", 1)]
    assert record.signals("a")["last_step"].to_pylist() == [1]


def test_a_segment_written_anew_under_its_old_name_replaces_the_old_one(record, tmp_path):
    path = write(tmp_path / "r", "rank0-000001", [row(1, "s0", teacher_label=0)])
    record.fold("a", tmp_path / "r")
    assert record.signals("a")["teacher_label"].to_pylist() == ["cat"]
    write(tmp_path / "r", "rank0-000001", [row(1, "s0", teacher_label=1)])
    os.utime(path, ns=(1, 1))  # even within one tick of the clock
    assert record.fold("a", tmp_path / "r") == 1
    assert [said["teacher_label"] for said in record.history("s0")] == ["dog"]
    assert record.signals("a")["teacher_label"].to_pylist() == ["dog"]


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


def test_what_was_folded_is_told_by_segment_and_adds_up(record, tmp_path):
    assert (record.folded("a"), record.rows("a")) == ({}, 0)
    write(tmp_path / "r", "rank0-000001", [row(1, "s0")])
    late = write(tmp_path / "r", "rank0-000002", [row(2, "s0"), row(2, "s1")])
    for _ in range(2):
        record.fold("a", tmp_path / "r")
        found = segments_in(tmp_path / "r")
        assert record.folded("a") == {key: pq.read_metadata(path).num_rows for key, path in found.items()}
        assert record.rows("a") == sum(record.folded("a").values())
        assert record.fresh_signals("a") == record.signals("a")
        late.unlink(missing_ok=True)
    assert record.rows("a") == 1
    record.forget("a")
    assert (record.folded("a"), record.rows("a")) == ({}, 0)


def test_forgetting_a_run_leaves_the_others(record, tmp_path):
    for run in ("a", "b"):
        write(tmp_path / run, "rank0-000001", [row(1, "s0", teacher_label=0)])
        record.fold(run, tmp_path / run)
        assert record.signals(run).num_rows == 1
    record.forget("a")
    assert steps(record) == [("b", 1)]
    assert (record.signals("a").num_rows, record.signals("b").num_rows) == (0, 1)
    record.clear()
    record.clear()
    assert (record.signals("b").num_rows, record.folded("b")) == (0, {})
    assert record.fold("a", tmp_path / "a") == 1, "the new run of that name is recorded"


@pytest.mark.parametrize("fault", ["torn", "columns", "classes", "label"])
def test_a_segment_that_cannot_be_read_is_an_error_with_its_path(record, tmp_path, fault):
    path = write(tmp_path / "r", "rank0-000001", [row(1, "s0", teacher_label=1)])
    good = pq.read_table(path)
    if fault == "torn":
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


def test_signals_of_a_record_worked_out_by_hand(record, tmp_path):
    """s0: the teacher says cat .9, dog .6, dog .8, cat .7. Last cat; of cat .9, 0, 0, .7: mean .4; two flips."""
    rows = [
        row(1, "s0", teacher_label=0, teacher_probability=0.9, student_label=1, student_probability=0.5, feedback=1.0),
        row(2, "s0", teacher_label=1, teacher_probability=0.6, student_label=1, student_probability=0.6, feedback=-3.0),
        row(5, "s0", teacher_label=1, teacher_probability=0.8, student_label=2, student_probability=0.7, best_label=2),
        row(9, "s0", teacher_label=0, teacher_probability=0.7, student_label=0, student_probability=0.8, best_gain=0.5),
        row(4, "s1", teacher_label=2, teacher_probability=1.0),
    ]
    write(tmp_path / "r", "rank0-000001", rows[2:])
    write(tmp_path / "r", "rank1-000001", rows[:2])
    record.fold("a", tmp_path / "r")
    first, second = record.signals("a").to_pylist()
    assert first == {
        "run": "a",
        "sample_id": "s0",
        "steps": 4,
        "first_step": 1,
        "last_step": 9,
        "teacher_label": "cat",
        "teacher_probability": pytest.approx(0.7),
        "mean_probability": pytest.approx(0.4),
        "flips": 2,
        "settled_step": 9,
        "student_label": "cat",
        "student_probability": pytest.approx(0.8),
        "agreement": pytest.approx(0.5),
        "student_flips": 2,
        "mean_feedback": pytest.approx(-1.0),
        "best_label": "ünï",
        "mean_best_gain": pytest.approx(0.5),
    }
    assert (second["steps"], second["flips"], second["mean_probability"]) == (1, 0, 1.0)
    assert second["settled_step"] == 4
    for name in ("student_label", "student_probability", "agreement", "student_flips", "mean_feedback", "best_label"):
        assert second[name] is None


def test_without_a_teacher_its_columns_stay_null(record, tmp_path):
    write(tmp_path / "r", "rank0-000001", [row(n, "s0", student_label=n % 2, student_probability=0.5) for n in (1, 2)])
    record.fold("a", tmp_path / "r")
    (said,) = record.signals("a").to_pylist()
    for name in ("teacher_label", "teacher_probability", "mean_probability", "flips", "agreement", "best_label"):
        assert said[name] is None
    assert (said["student_label"], said["student_flips"]) == ("cat", 1)


def test_signals_that_an_earlier_version_kept_are_made_again(tmp_path):
    write(tmp_path / "r", "rank0-000001", [row(1, "s0", teacher_label=0)])
    record = LanceRecord(tmp_path / "lance")
    record.fold("a", tmp_path / "r")
    whole = record.signals("a")
    old = record._tables.read("signals", ["run", "sample_id", "flips", "made_of"])
    record._tables.drop("signals")
    with record._tables.changing("signals", old.schema) as table:
        table.add(old)
    assert record.kept_signals("a") is None
    assert record.signals("a") == whole == record.kept_signals("a")


def test_a_long_history_gets_an_index_and_answers_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("storage.lance_record.INDEX_FROM", 3)
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


label = st.none() | st.integers(0, 2)
number = st.none() | st.floats(-1, 1, width=32)
spoken = st.fixed_dictionaries({name: label if name.endswith(("label", "up")) else number for name in SAID})
records = st.lists(st.tuples(st.sampled_from(["s0", "s1", "s2"]), spoken), min_size=1, max_size=12)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=records)
def test_signals_agree_with_a_plain_loop(tmp_path_factory, said):
    directory = tmp_path_factory.mktemp("record")
    rows = [row(step, sample_id, **what) for step, (sample_id, what) in enumerate(said)]
    write(directory, "rank0-000001", rows)
    record = MemoryRecord()
    record.fold("a", directory)
    found = {line["sample_id"]: line for line in record.signals("a").to_pylist()}
    assert found.keys() == {sample_id for sample_id, _ in said}
    for sample_id, line in found.items():
        _check_against_loop(line, [r for r in rows if r["sample_id"] == sample_id])


def _check_against_loop(line, rows):
    assert (line["steps"], line["first_step"], line["last_step"]) == (len(rows), rows[0]["step"], rows[-1]["step"])
    teacher = [(r["teacher_label"], r["teacher_probability"]) for r in rows if r["teacher_label"] is not None]
    if not teacher:
        assert line["teacher_label"] is line["flips"] is line["mean_probability"] is None
    else:
        last = teacher[-1][0]
        assert line["teacher_label"] == CLASSES[last]
        assert line["flips"] == sum(a[0] != b[0] for a, b in pairwise(teacher))
        said = [(r["step"], r["teacher_label"]) for r in rows if r["teacher_label"] is not None]
        others = [step for step, which in said if which != last]
        assert line["settled_step"] == min(step for step, _ in said if step > max(others, default=-1))
        counted = [0.0 if which != last else p for which, p in teacher if which != last or p is not None]
        assert line["mean_probability"] == (pytest.approx(sum(counted) / len(counted), abs=1e-6) if counted else None)
    both = [
        r["teacher_label"] == r["student_label"] for r in rows if None not in (r["teacher_label"], r["student_label"])
    ]
    assert line["agreement"] == (pytest.approx(sum(both) / len(both)) if both else None)
    feedback = [r["feedback"] for r in rows if r["feedback"] is not None]
    assert line["mean_feedback"] == (pytest.approx(sum(feedback) / len(feedback), abs=1e-6) if feedback else None)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.booleans()), min_size=1, max_size=8))
def test_however_segments_come_and_go_both_records_end_as_the_disk_is(tmp_path_factory, changes):
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
        assert [said["step"] for said in record.history("s0")] == sorted(on_disk.values())
    assert both[0].signals("a") == both[1].signals("a")


@pytest.mark.parametrize("killed_at", ["history", "folded", "signals"])
def test_a_fold_killed_before_any_of_its_writes_is_made_good(tmp_path, monkeypatch, killed_at):
    write(tmp_path / "r", "rank0-000001", [row(1, "s0", teacher_label=0)])
    record = LanceRecord(tmp_path / "lance")
    changing = lance.Tables.changing

    def dying(tables, name, schema):
        if name == killed_at:
            raise KeyboardInterrupt
        return changing(tables, name, schema)

    with monkeypatch.context() as dead:
        dead.setattr(lance.Tables, "changing", dying)
        with pytest.raises(KeyboardInterrupt):
            record.fold("a", tmp_path / "r")
            record.signals("a")
    record.fold("a", tmp_path / "r")
    assert steps(record) == [("a", 1)]
    assert record.signals("a")["steps"].to_pylist() == [1]
    assert record.fold("a", tmp_path / "r") == 0


@pytest.mark.parametrize("survived", range(3))
def test_a_fold_killed_before_its_run_was_resumed_leaves_nothing_of_what_the_run_took_back(
    tmp_path, monkeypatch, survived
):
    """The segment that a fold was killed over is gone, and so is every name for it: only `folded` knows of its rows."""
    write(tmp_path / "r", "rank0-000001", [row(1, "s0")])
    record = LanceRecord(tmp_path / "lance")
    record.fold("a", tmp_path / "r")
    late = write(tmp_path / "r", "rank0-000002", [row(2, "s0", teacher_label=0)])
    changing, writes = lance.Tables.changing, survived

    def mortal(tables, name, schema):
        nonlocal writes
        writes -= 1
        if writes < 0:
            raise KeyboardInterrupt
        return changing(tables, name, schema)

    with monkeypatch.context() as dead:
        dead.setattr(lance.Tables, "changing", mortal)
        with pytest.raises(KeyboardInterrupt):
            record.fold("a", tmp_path / "r")
    late.unlink()
    record.fold("a", tmp_path / "r")
    assert steps(record) == [("a", 1)]
    assert record.rows("a") == 1
    write(tmp_path / "r", "rank0-000002", [row(2, "s0", teacher_label=1)])
    record.fold("a", tmp_path / "r")
    assert [said["teacher_label"] for said in record.history("s0")] == [None, "dog"]


def test_kill_9_at_a_random_moment_loses_and_doubles_nothing(tmp_path):
    segments = 40
    for n in range(segments):
        write(tmp_path / "r", f"rank0-{n:06d}", [row(n, "s0", teacher_label=n % 3), row(n, "s1")])
    code = (
        "import sys; from pathlib import Path; import storage.lance_record as r; r.AT_ONCE = 2\n"
        "import lancedb, pyarrow.parquet; print('ready', flush=True)\n"
        "root = Path(sys.argv[1]); record = r.LanceRecord(root / 'lance'); record.fold('a', root / 'r')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    ) as folding:
        assert folding.stdout is not None
        folding.stdout.readline()
        time.sleep(random.uniform(0, 0.3))
        os.kill(folding.pid, signal.SIGKILL)
    record = LanceRecord(tmp_path / "lance")
    record.fold("a", tmp_path / "r")
    assert steps(record) == [("a", n) for n in range(segments)]
    assert record.signals("a")["steps"].to_pylist() == [segments, segments]
