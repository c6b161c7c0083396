import numpy as np
import pyarrow as pa
import pytest

from gradebook.app.figures import common, run, sample, selection
from gradebook.pipelines.reporting import training_dynamics
from gradebook.pipelines.reporting.training_dynamics import Table
from gradebook.storage.label_snapshots import LabelSnapshots

ROWS = [
    {
        "run": "mpl-001",
        "step": step,
        "teacher_label": label,
        "teacher_probability": None if label is None else 0.5,
        "runner_up": "owl",
        "student_label": "heron",
        "student_probability": 0.4,
        "feedback": feedback,
        "best_label": "owl" if step == 10 else None,
        "best_gain": 0.2 if step == 10 else None,
    }
    for step, label, feedback in [(10, "crow", 0.1), (20, "heron", None), (30, None, -0.1)]
]
CLASSES = ["crow", "heron", "owl"]
MARKUP = "<a href='x'>"


def test_ribbons_show_who_said_what_and_leave_out_what_nobody_said():
    figure = sample.training_history(ROWS, CLASSES, {})
    ribbons = {t.name: list(zip(t.base, t.x, t.y, strict=True)) for t in figure.data if t.type == "bar"}
    assert ribbons == {
        "crow": [(10, 10, "teacher")],
        "heron": [(10, 30, "student"), (20, 10, "teacher")],
        "owl": [(10, 30, "runner-up")],
    }
    assert {t.name: t.marker.color for t in figure.data if t.type == "bar"} == common.class_colors(CLASSES)


def lines(figure, axis):
    return {t.line.color: list(t.y) for t in figure.data if t.type == "scatter" and t.yaxis == axis}


def test_each_class_has_its_own_line_with_gaps_where_another_was_named():
    figure = sample.training_history(ROWS, CLASSES, {})
    colour = common.class_colors(CLASSES)
    assert lines(figure, "y2") == {colour["crow"]: [0.5, None, None], colour["heron"]: [None, 0.5, None]}
    assert lines(figure, "y3") == {colour["heron"]: [0.4, 0.4, 0.4]}


def test_feedback_is_known_of_the_class_that_was_said_and_of_the_best_one():
    figure = sample.training_history(ROWS, CLASSES, {})
    points = [(t.marker.symbol, list(t.x), list(t.y)) for t in figure.data if t.yaxis == "y4"]
    assert points == [("diamond-open", [10], [pytest.approx(0.3)]), ("circle", [10], [0.1])]


def test_the_moment_of_a_label_stands_in_the_figure():
    figure = sample.training_history(ROWS, CLASSES, {25: "owl", 28: None})
    assert {shape.x0 for shape in figure.layout.shapes if shape.x0 == shape.x1} == {25, 28}
    said = [a.text for a in figure.layout.annotations]
    assert "labelled owl" in said and "label undone" in said


def test_a_history_of_one_record_has_ribbons_too():
    figure = sample.training_history(ROWS[:1], CLASSES, {})
    assert {t.x for t in figure.data if t.type == "bar"} == {(1,)}


def test_past_eight_classes_something_else_than_the_colour_differs():
    many = [f"c{k}" for k in range(20)]
    rows = [ROWS[0] | {"step": k, "teacher_label": name} for k, name in enumerate(many)]
    figure = sample.training_history(rows, many, {})
    looks = {
        t.name: (t.marker.color, t.marker.pattern.shape) for t in figure.data if t.type == "bar" and t.name in many
    }
    assert len(set(looks.values())) == 20


def test_two_runs_of_unlike_length_stand_beside_each_other():
    figure = sample.across_runs({"mpl": ROWS, "uda": [ROWS[0], ROWS[1] | {"step": 100}]}, CLASSES)
    assert max(base + x for t in figure.data for base, x in zip(t.base, t.x, strict=True)) <= 2
    assert len({tuple(np.ravel(t.y)) for t in figure.data}) == 4


def said(labels, classes):
    labels = np.array(labels, np.int16)
    ids = [str(k) for k in range(len(labels))]
    return LabelSnapshots(
        sample_ids=ids, classes=classes, steps=list(range(labels.shape[1])), teacher=labels, student=labels
    )


def test_a_flow_counts_what_is_known_at_both_ends():
    found = said([[0, 0], [0, 1], [0, 1], [-1, 1]], ["crow", "heron"])
    (sankey,) = run.label_flow(found, found.teacher, ["crow", "heron"]).data
    links = zip(sankey.link.source, sankey.link.target, sankey.link.value, strict=True)
    assert sorted(links) == [(0, 2, 1), (0, 3, 2)]


def test_a_flow_of_many_classes_draws_those_that_moved_and_the_rest_as_one():
    classes = [f"c{k}" for k in range(30)]
    found = said([[k, (k + 1) % 5 if k < 5 else k] for k in range(30)], classes)
    (sankey,) = run.label_flow(found, found.teacher, classes).data
    names = list(sankey.node.label)[: len(sankey.node.label) // 2]
    assert names[:5] == classes[:5] and names[-1] == run.OTHERS and len(names) == run.MAX_FLOW_CLASSES + 1
    assert sum(sankey.link.value) == 30


@pytest.mark.parametrize(("classes", "bands"), [(10, 10), (30, run.MAX_FLOW_CLASSES + 1)])
def test_a_course_draws_the_classes_named_most_and_the_rest_as_one(classes, bands):
    names = [f"c{k}" for k in range(classes)]
    teachers = [names[min(k // 2, classes - 1)] for k in range(2 * classes)]
    rows = {
        "sample_id": [str(k) for k in range(len(teachers))] * 2,
        "step": pa.array([1] * len(teachers) + [2] * len(teachers), pa.int32()),
        "teacher_label": [*teachers, *[names[-1]] * len(teachers)],
        "student_label": teachers * 2,
        "teacher_probability": pa.array([0.5] * 2 * len(teachers), pa.float32()),
        "student_probability": pa.array([0.5] * 2 * len(teachers), pa.float32()),
    }
    figure = selection.dynamics(training_dynamics.course(pa.table(rows)), names)
    drawn = [trace for trace in figure.data if trace.stackgroup]
    assert len({(trace.name, trace.fillcolor) for trace in drawn}) == len({t.fillcolor for t in drawn}) == bands
    assert names[-1] in [trace.name for trace in drawn] and (drawn[-1].name == run.OTHERS) == (classes > bands)
    np.testing.assert_allclose(sum(np.asarray(trace.y) for trace in drawn), [1, 1])


def test_each_cell_of_a_confusion_matrix_says_which_it_is():
    rows, columns = np.array([0, 1, 1], np.int16), np.array([0, 0, 0], np.int16)
    table = Table(sample_ids=["a", "b", "c"], classes=["crow", "heron"], rows=rows, columns=columns)
    figure = run.confusion_matrix(table, "Teacher", "Student", (1, 0), "#000000")
    *shades, cells = figure.data
    assert [(list(at), text) for at, text in zip(cells.customdata, cells.text, strict=True)] == [
        ([0, 0], "1"),
        ([1, 0], "2"),
    ]
    assert [np.argwhere(~np.isnan(np.array(shade.z, float))).tolist() for shade in shades] == [[[0, 0]], [[1, 0]]]
    (frame,) = figure.layout.shapes
    assert (frame.x0 < 0 < frame.x1) and (frame.y0 < 1 < frame.y1), "the open one is framed"


def test_class_names_are_no_markup_in_these_figures():
    rows = [ROWS[0] | {"teacher_label": MARKUP, "best_label": MARKUP, "runner_up": MARKUP}]
    found = said([[0, 1], [1, 0]], ["crow", MARKUP])
    table = Table(sample_ids=["a"], classes=[MARKUP], rows=np.zeros(1, np.int16), columns=np.zeros(1, np.int16))
    for figure in (
        sample.training_history(rows, ["crow"], {10: MARKUP}),
        sample.across_runs({MARKUP: rows}, ["crow"]),
        run.label_flow(found, found.teacher, ["crow"]),
        run.confusion_matrix(table, "Teacher", "Student", None, "#000000"),
    ):
        assert "<a" not in figure.to_json()


@pytest.mark.parametrize("dark", [False, True])
def test_ten_classes_have_ten_colours_in_a_flow(dark):
    names = [f"class {n}" for n in range(10)]
    found = said([[n, (n + 1) % 10] for n in range(10)], names)
    (sankey,) = run.label_flow(found, found.teacher, names, dark=dark).data
    assert len(set(sankey.node.color[:10])) == 10
