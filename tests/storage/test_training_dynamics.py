"""What a record comes to, sample by sample."""

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradebook.storage.lance_record import LanceRecord
from gradebook.storage.record import MemoryRecord
from gradebook.storage.segments import RECORDED
from tests.storage.segments import CLASSES, row, write


def test_training_dynamics_by_hand(record, tmp_path):
    """s0: the teacher predicts cat .9, dog .6, dog .8, cat .7. Last cat; of cat .9, 0, 0, .7: mean .4; two flips."""
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
    first, second = record.dynamics("a").to_pylist()
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
    (dynamics,) = record.dynamics("a").to_pylist()
    for name in ("teacher_label", "teacher_probability", "mean_probability", "flips", "agreement", "best_label"):
        assert dynamics[name] is None
    assert (dynamics["student_label"], dynamics["student_flips"]) == ("cat", 1)


def test_training_dynamics_of_an_earlier_version_are_computed_again(tmp_path):
    write(tmp_path / "r", "rank0-000001", [row(1, "s0", teacher_label=0)])
    record = LanceRecord(tmp_path / "lance")
    record.fold("a", tmp_path / "r")
    whole = record.dynamics("a")
    old = record._tables.read("signals", ["run", "sample_id", "flips", "made_of"])
    record._tables.drop("signals")
    with record._tables.open_for_writing("signals", old.schema) as table:
        table.add(old)
    assert record.cached_dynamics("a") is None
    assert record.dynamics("a") == whole == record.cached_dynamics("a")


label = st.none() | st.integers(0, 2)
number = st.none() | st.floats(-1, 1, width=32)
spoken = st.fixed_dictionaries({name: label if name.endswith(("label", "up")) else number for name in RECORDED})
records = st.lists(st.tuples(st.sampled_from(["s0", "s1", "s2"]), spoken), min_size=1, max_size=12)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(recorded=records)
def test_training_dynamics_agree_with_a_plain_loop(tmp_path_factory, recorded):
    directory = tmp_path_factory.mktemp("record")
    rows = [row(step, sample_id, **what) for step, (sample_id, what) in enumerate(recorded)]
    write(directory, "rank0-000001", rows)
    record = MemoryRecord()
    record.fold("a", directory)
    found = {line["sample_id"]: line for line in record.dynamics("a").to_pylist()}
    assert found.keys() == {sample_id for sample_id, _ in recorded}
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
        labelled = [(r["step"], r["teacher_label"]) for r in rows if r["teacher_label"] is not None]
        others = [step for step, which in labelled if which != last]
        assert line["settled_step"] == min(step for step, _ in labelled if step > max(others, default=-1))
        counted = [0.0 if which != last else p for which, p in teacher if which != last or p is not None]
        assert line["mean_probability"] == (pytest.approx(sum(counted) / len(counted), abs=1e-6) if counted else None)
    both = [
        r["teacher_label"] == r["student_label"] for r in rows if None not in (r["teacher_label"], r["student_label"])
    ]
    assert line["agreement"] == (pytest.approx(sum(both) / len(both)) if both else None)
    feedback = [r["feedback"] for r in rows if r["feedback"] is not None]
    assert line["mean_feedback"] == (pytest.approx(sum(feedback) / len(feedback), abs=1e-6) if feedback else None)
