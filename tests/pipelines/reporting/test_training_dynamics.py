import numpy as np
import pyarrow as pa

from gradebook.pipelines.reporting.training_dynamics import Move, against, course, flow, moments, moved, moves
from gradebook.pipelines.runs import Run
from gradebook.storage.label_snapshots import Extent, LabelSnapshots
from tests.pipelines.projects import make_project, rows, trained


def said(teacher):
    labels = np.array(teacher, np.int16)
    ids = [f"s{k}" for k in range(len(labels))]
    return LabelSnapshots(sample_ids=ids, classes=["crow", "heron"], steps=[1, 5, 9], teacher=labels, student=labels)


def test_moves_are_counted_between_neighbouring_moments_and_lead_to_their_samples():
    found = said([[0, 1, 1], [0, 1, 0], [1, 1, 0], [-1, 1, -1], [0, 0, 0]])
    assert moves(found.teacher) == [
        Move(moment=0, before=0, after=1, count=2),
        Move(moment=1, before=1, after=0, count=2),
    ], "what is not known has not moved"
    assert moved(found, found.teacher, 1, 1, 0) == ["s1", "s2"]


def test_the_moments_are_checkpoints_or_else_parts_of_the_run():
    assert moments(Extent(1, 600, 9), 100, 6) == [6, 100, 300, 500, 600]
    assert moments(Extent(1, 600, 9), 200, 6) == [6, 200, 400, 600]
    assert moments(Extent(0, 40, 9), 1000, 10) == [9, 17, 24, 32, 40]
    assert moments(Extent(7, 7, 1), 0, 1) == [7]


def test_cells_hold_the_samples_of_which_both_say_something():
    signals = pa.table(
        {"sample_id": ["a", "b", "c"], "teacher_label": ["crow", "owl", None], "student_label": ["owl", "owl", "crow"]}
    )
    table = against(signals, "teacher", "student", {}, ["crow", "heron"])
    assert table.classes == ["crow", "heron", "owl"]
    assert table.counts().tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 1]]
    assert table.cell(0, 2) == ["a"]
    assert against(signals, "label", "student", {"c": "heron", "z": "crow"}, ["crow", "heron"]).cell(1, 0) == ["c"]


def test_a_course_counts_flips_within_a_sample_and_leaves_out_what_is_not_known():
    history = pa.table(
        {
            "sample_id": ["a", "b", "a", "b"],
            "step": pa.array([1, 1, 2, 2], pa.int32()),
            "teacher_label": ["crow", "owl", "owl", "owl"],
            "student_label": pa.array(["crow", None, None, "owl"]),
            "teacher_probability": pa.array([0.2, 0.6, 0.4, 0.8], pa.float32()),
            "student_probability": pa.array([0.5, None, None, 0.7], pa.float32()),
        }
    )
    found = course(history)
    assert found.samples == 2 and found.steps.tolist() == [1, 2]
    assert np.isnan(found.flips[0]) and found.flips[1] == 0.5
    assert found.agreement.tolist() == [1, 1]
    np.testing.assert_allclose(found.teacher[:, 1], [0.4, 0.6], atol=1e-6)
    np.testing.assert_allclose(found.student[:, 1], [0.5, 0.7], atol=1e-6)
    assert {name: share.tolist() for name, share in found.shares.items()} == {"crow": [0.5, 0], "owl": [0.5, 1]}
    assert course(history.slice(0, 0)) is None


def test_a_course_has_no_gaps_where_nothing_was_recorded():
    history = pa.table(
        {
            "sample_id": ["a", "a", "a"],
            "step": pa.array([10, 500, 1000], pa.int32()),
            "teacher_label": ["crow", "owl", "owl"],
            "student_label": ["crow", "crow", "owl"],
            "teacher_probability": pa.array([0.2, 0.6, 0.4], pa.float32()),
            "student_probability": pa.array([0.5, 0.6, 0.7], pa.float32()),
        }
    )
    found = course(history)
    assert len(found.steps) == 3 and all(abs(found.steps - [10, 500, 1000]) < 1000 / 24)
    assert found.agreement.tolist() == [1, 0, 1] and found.flips[1:].tolist() == [1, 0]
    assert found.shares["owl"].tolist() == [0, 1, 1]


def test_the_flow_of_a_real_run_ends_with_what_was_said_last(tmp_path):
    store = make_project(tmp_path)
    trained(store, steps=12)
    found = flow(Run(store.project.runs / "r"))
    last = {row["sample_id"]: row["student_label"] for row in rows(store)}
    classes = store.project.classes
    assert {
        i: classes.index(found.classes[k]) for i, k in zip(found.sample_ids, found.student[:, -1], strict=True)
    } == last
    assert found.steps[-1] == max(row["step"] for row in rows(store))
    assert (found.student >= 0).all(), "within two turns every sample is seen"
