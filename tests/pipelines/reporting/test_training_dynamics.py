import numpy as np
import pyarrow as pa

from gradebook.pipelines.reporting.training_dynamics import (
    LabelChange,
    changed_samples,
    count_label_changes,
    cross_tabulate,
    dynamics_curves,
    read_label_flow,
    snapshot_steps,
)
from gradebook.pipelines.runs import Run
from gradebook.storage.label_snapshots import Extent, LabelSnapshots
from tests.pipelines.projects import make_project, rows, trained


def snapshots(teacher):
    labels = np.array(teacher, np.int16)
    ids = [f"s{k}" for k in range(len(labels))]
    return LabelSnapshots(sample_ids=ids, classes=["crow", "heron"], steps=[1, 5, 9], teacher=labels, student=labels)


def test_label_changes_are_counted_between_neighbouring_snapshots_and_name_their_samples():
    found = snapshots([[0, 1, 1], [0, 1, 0], [1, 1, 0], [-1, 1, -1], [0, 0, 0]])
    assert count_label_changes(found.teacher) == [
        LabelChange(snapshot=0, before=0, after=1, count=2),
        LabelChange(snapshot=1, before=1, after=0, count=2),
    ], "an unknown label has not changed"
    assert changed_samples(found, found.teacher, 1, 1, 0) == ["s1", "s2"]


def test_snapshots_are_taken_at_checkpoints_or_at_equal_parts_of_the_run():
    assert snapshot_steps(Extent(1, 600, 9), 100, 6) == [6, 100, 300, 500, 600]
    assert snapshot_steps(Extent(1, 600, 9), 200, 6) == [6, 200, 400, 600]
    assert snapshot_steps(Extent(0, 40, 9), 1000, 10) == [9, 17, 24, 32, 40]
    assert snapshot_steps(Extent(7, 7, 1), 0, 1) == [7]


def test_cells_hold_the_samples_that_both_sources_have_labelled():
    dynamics = pa.table(
        {"sample_id": ["a", "b", "c"], "teacher_label": ["crow", "owl", None], "student_label": ["owl", "owl", "crow"]}
    )
    table = cross_tabulate(dynamics, "teacher", "student", {}, ["crow", "heron"])
    assert table.classes == ["crow", "heron", "owl"]
    assert table.counts().tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 1]]
    assert table.cell(0, 2) == ["a"]
    assert cross_tabulate(dynamics, "label", "student", {"c": "heron", "z": "crow"}, ["crow", "heron"]).cell(1, 0) == [
        "c"
    ]


def test_curves_count_flips_within_a_sample_and_leave_unknown_labels_out():
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
    curves = dynamics_curves(history)
    assert curves.samples == 2 and curves.steps.tolist() == [1, 2]
    assert np.isnan(curves.flips[0]) and curves.flips[1] == 0.5
    assert curves.agreement.tolist() == [1, 1]
    np.testing.assert_allclose(curves.teacher[:, 1], [0.4, 0.6], atol=1e-6)
    np.testing.assert_allclose(curves.student[:, 1], [0.5, 0.7], atol=1e-6)
    assert {name: share.tolist() for name, share in curves.shares.items()} == {"crow": [0.5, 0], "owl": [0.5, 1]}
    assert dynamics_curves(history.slice(0, 0)) is None


def test_curves_have_no_gaps_where_nothing_was_recorded():
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
    curves = dynamics_curves(history)
    assert len(curves.steps) == 3 and all(abs(curves.steps - [10, 500, 1000]) < 1000 / 24)
    assert curves.agreement.tolist() == [1, 0, 1] and curves.flips[1:].tolist() == [1, 0]
    assert curves.shares["owl"].tolist() == [0, 1, 1]


def test_the_label_flow_of_a_real_run_ends_with_the_last_recorded_labels(tmp_path):
    store = make_project(tmp_path)
    trained(store, steps=12)
    flow = read_label_flow(Run(store.project.runs / "r"))
    last = {row["sample_id"]: row["student_label"] for row in rows(store)}
    classes = store.project.classes
    assert {
        i: classes.index(flow.classes[k]) for i, k in zip(flow.sample_ids, flow.student[:, -1], strict=True)
    } == last
    assert flow.steps[-1] == max(row["step"] for row in rows(store))
    assert (flow.student >= 0).all(), "two epochs contain every sample"
