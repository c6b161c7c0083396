import numpy as np
import pyarrow as pa
import pytest

from gradebook.app.figures import common, run, sample, selection
from gradebook.pipelines.reporting import training_dynamics
from gradebook.pipelines.reporting.training_dynamics import CrossTable
from gradebook.storage.class_changes import PALETTE, styled
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
CLASSES = common.class_colors(styled(["crow", "heron", "owl"]))
MARKUP = "<a href='x'>"


def test_ribbons_show_the_predicted_classes_and_skip_missing_ones():
    figure = sample.training_history(ROWS, CLASSES, {})
    ribbons = {t.name: list(zip(t.base, t.x, t.y, strict=True)) for t in figure.data if t.type == "bar"}
    assert ribbons == {
        "crow": [(10, 10, "teacher")],
        "heron": [(10, 30, "student"), (20, 10, "teacher")],
        "owl": [(10, 30, "runner-up")],
    }
    assert {t.name: t.marker.color for t in figure.data if t.type == "bar"} == CLASSES


def lines(figure, axis):
    return {t.line.color: list(t.y) for t in figure.data if t.type == "scatter" and t.yaxis == axis}


def test_each_class_has_a_line_with_gaps_where_another_was_predicted():
    figure = sample.training_history(ROWS, CLASSES, {})
    colour = CLASSES
    assert lines(figure, "y2") == {colour["crow"]: [0.5, None, None], colour["heron"]: [None, 0.5, None]}
    assert lines(figure, "y3") == {colour["heron"]: [0.4, 0.4, 0.4]}


def test_feedback_is_drawn_for_the_predicted_and_the_best_class():
    figure = sample.training_history(ROWS, CLASSES, {})
    points = [(t.marker.symbol, list(t.x), list(t.y)) for t in figure.data if t.yaxis == "y4"]
    assert points == [("diamond-open", [10], [pytest.approx(0.3)]), ("circle", [10], [0.1])]


def test_the_step_of_a_label_is_marked():
    figure = sample.training_history(ROWS, CLASSES, {25: "owl", 28: None})
    assert {shape.x0 for shape in figure.layout.shapes if shape.x0 == shape.x1} == {25, 28}
    texts = [a.text for a in figure.layout.annotations]
    assert "labelled owl" in texts and "label undone" in texts


def test_a_history_of_one_row_has_ribbons():
    figure = sample.training_history(ROWS[:1], CLASSES, {})
    assert {t.x for t in figure.data if t.type == "bar"} == {(1,)}


def test_more_than_twelve_classes_differ_in_more_than_colour():
    many = [f"c{k}" for k in range(20)]
    rows = [ROWS[0] | {"step": k, "teacher_label": name} for k, name in enumerate(many)]
    figure = sample.training_history(rows, common.class_colors(styled(many)), {})
    styles = {
        t.name: (t.marker.color, t.marker.pattern.shape) for t in figure.data if t.type == "bar" and t.name in many
    }
    assert len(set(styles.values())) == 20


def test_runs_of_different_length_are_drawn_on_one_scale():
    figure = sample.across_runs({"mpl": ROWS, "uda": [ROWS[0], ROWS[1] | {"step": 100}]}, CLASSES)
    assert max(base + x for t in figure.data for base, x in zip(t.base, t.x, strict=True)) <= 2
    assert len({tuple(np.ravel(t.y)) for t in figure.data}) == 4


def snapshots(labels, classes):
    labels = np.array(labels, np.int16)
    ids = [str(k) for k in range(len(labels))]
    return LabelSnapshots(
        sample_ids=ids, classes=classes, steps=list(range(labels.shape[1])), teacher=labels, student=labels
    )


def test_a_flow_counts_samples_with_labels_at_both_ends():
    flow = snapshots([[0, 0], [0, 1], [0, 1], [-1, 1]], ["crow", "heron"])
    (sankey,) = run.label_flow(flow, flow.teacher, CLASSES).data
    links = zip(sankey.link.source, sankey.link.target, sankey.link.value, strict=True)
    assert sorted(links) == [(0, 2, 1), (0, 3, 2)]


def test_a_flow_of_many_classes_draws_the_most_changed_and_one_for_the_rest():
    classes = [f"c{k}" for k in range(30)]
    flow = snapshots([[k, (k + 1) % 5 if k < 5 else k] for k in range(30)], classes)
    (sankey,) = run.label_flow(flow, flow.teacher, common.class_colors(styled(classes))).data
    names = list(sankey.node.label)[: len(sankey.node.label) // 2]
    assert names[:5] == classes[:5] and names[-1] == common.OTHERS and len(names) == len(PALETTE) + 1
    assert sum(sankey.link.value) == 30


@pytest.mark.parametrize(("classes", "bands"), [(10, 10), (12, 12), (30, len(PALETTE) + 1)])
def test_selection_dynamics_draw_the_most_predicted_classes_and_one_for_the_rest(classes, bands):
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
    figure = selection.dynamics(training_dynamics.dynamics_curves(pa.table(rows)), common.class_colors(styled(names)))
    drawn = [trace for trace in figure.data if trace.stackgroup]
    assert len({(trace.name, trace.fillcolor) for trace in drawn}) == len({t.fillcolor for t in drawn}) == bands
    assert (drawn[-1].name == common.OTHERS) == (classes > bands)
    np.testing.assert_allclose(sum(np.asarray(trace.y) for trace in drawn), [1, 1])


def test_each_cell_of_a_confusion_matrix_carries_its_row_and_column():
    rows, columns = np.array([0, 1, 1], np.int16), np.array([0, 0, 0], np.int16)
    table = CrossTable(sample_ids=["a", "b", "c"], classes=["crow", "heron"], rows=rows, columns=columns)
    figure = run.confusion_matrix(table, "Teacher", "Student", (1, 0), "#000000", {"crow": "#0072B2"})
    assert "#0072B2" in figure.layout.xaxis.ticktext[0] and figure.layout.yaxis.ticktext[1].endswith(" heron")
    *shades, cells = figure.data
    assert [(list(at), text) for at, text in zip(cells.customdata, cells.text, strict=True)] == [
        ([0, 0], "1"),
        ([1, 0], "2"),
    ]
    assert [np.argwhere(~np.isnan(np.array(shade.z, float))).tolist() for shade in shades] == [[[0, 0]], [[1, 0]]]
    (frame,) = figure.layout.shapes
    assert (frame.x0 < 0 < frame.x1) and (frame.y0 < 1 < frame.y1), "the open one is framed"


def test_class_names_are_escaped_in_figures_of_runs_and_samples():
    rows = [ROWS[0] | {"teacher_label": MARKUP, "best_label": MARKUP, "runner_up": MARKUP}]
    flow = snapshots([[0, 1], [1, 0]], ["crow", MARKUP])
    table = CrossTable(sample_ids=["a"], classes=[MARKUP], rows=np.zeros(1, np.int16), columns=np.zeros(1, np.int16))
    for figure in (
        sample.training_history(rows, CLASSES, {10: MARKUP}),
        sample.across_runs({MARKUP: rows}, CLASSES),
        run.label_flow(flow, flow.teacher, CLASSES | {MARKUP: "#123456"}),
        run.confusion_matrix(table, "Teacher", "Student", None, "#000000", CLASSES),
    ):
        assert "<a" not in figure.to_json()


@pytest.mark.parametrize("dark", [False, True])
def test_twelve_classes_have_twelve_colours_in_a_flow(dark):
    names = [f"class {n}" for n in range(12)]
    flow = snapshots([[n, (n + 1) % 12] for n in range(12)], names)
    (sankey,) = run.label_flow(flow, flow.teacher, common.class_colors(styled(names)), dark=dark).data
    assert len(set(sankey.node.color[:12])) == 12
