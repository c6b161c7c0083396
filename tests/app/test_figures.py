from gradebook.app.figures import common
from gradebook.storage.class_changes import OTHER, PALETTE, styled


def test_known_metrics_are_grouped_and_unknown_ones_are_drawn_too():
    rows = [{"step": 1, "seconds": 2.0, "student_loss": 1.0, "teacher_loss": 2.0, "watts": 300, "note": "text"}]
    drawn = common.metric_curves(rows)
    assert list(drawn) == ["Losses, nats", "Watts"]
    assert [trace.name for trace in drawn["Losses, nats"].data] == ["student loss", "teacher loss"]
    assert common.metric_curves([]) == {}


def test_a_metric_that_is_reported_now_and_then_has_its_own_steps():
    rows = [{"step": 1, "student_loss": 1.0}, {"step": 2, "validation_accuracy": 0.5}, {"step": 3, "student_loss": 0.9}]
    (trace,) = common.metric_curves(rows)["Validation accuracy"].data
    assert (list(trace.x), list(trace.y)) == ([2], [0.5])
    assert "markers" in trace.mode, "a line of one point would not be seen"


def test_runs_are_compared_on_metrics_that_several_have():
    one = [{"step": 1, "student_loss": 2.0, "agreement": 0.5}, {"step": 2, "student_loss": 1.0}]
    drawn = common.compare_runs({"mpl": one, "<b>uda": [{"step": 4, "student_loss": 3.0}], "new": []})
    assert list(drawn) == ["Student loss, nats"], "one run alone has an agreement"
    lines = {trace.name: (list(trace.x), list(trace.y)) for trace in drawn["Student loss, nats"].data}
    assert lines == {"mpl": ([1, 2], [2.0, 1.0]), "&lt;b&gt;uda": ([4], [3.0])}


def test_class_names_are_escaped_in_a_figure():
    figure = common.class_probabilities({"<b>crow</b>": 0.6, "h" * 60: 0.4}, {"<b>crow</b>": "#0072B2"})
    assert figure.data[0].marker.color == ("#0072B2", OTHER), "the colors of the classes"
    names = figure.layout.yaxis.ticktext
    assert names[0] == "&lt;b&gt;crow&lt;/b&gt;"
    assert len(names[1]) < 30


def test_texts_in_figures_have_at_least_12_pixels():
    (figure,) = common.compare_runs({n: [{"step": 1, "student_loss": 2.0}] for n in ("a", "b")}).values()
    sizes = (figure.layout.font.size, figure.layout.xaxis.tickfont.size, figure.layout.legend.font.size)
    assert min(sizes) >= 12


def test_the_first_classes_have_distinct_colours():
    colors = common.class_colors(styled([str(n) for n in range(len(PALETTE) + 2)]))
    assert len(set(colors.values())) == len(colors) == len(PALETTE)
