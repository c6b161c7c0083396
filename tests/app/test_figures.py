from app import figures

ROWS = [
    {
        "run": "mpl-001",
        "step": step,
        "teacher_label": label,
        "teacher_probability": 0.5,
        "student_label": "heron",
        "student_probability": 0.4,
        "feedback": feedback,
        "best_label": None,
    }
    for step, label, feedback in [(10, "crow", 0.1), (20, "heron", None), (30, None, -0.1)]
]


def test_known_metrics_are_grouped_and_unknown_ones_are_drawn_too():
    rows = [{"step": 1, "seconds": 2.0, "student_loss": 1.0, "teacher_loss": 2.0, "watts": 300, "note": "text"}]
    drawn = figures.curves(rows)
    assert list(drawn) == ["Losses, nats", "Watts"]
    assert [trace.name for trace in drawn["Losses, nats"].data] == ["student loss", "teacher loss"]
    assert figures.curves([]) == {}


def test_a_metric_that_is_reported_now_and_then_has_its_own_steps():
    rows = [{"step": 1, "student_loss": 1.0}, {"step": 2, "validation_accuracy": 0.5}, {"step": 3, "student_loss": 0.9}]
    (trace,) = figures.curves(rows)["Validation accuracy"].data
    assert (list(trace.x), list(trace.y)) == ([2], [0.5])
    assert "markers" in trace.mode, "a line of one point would not be seen"


def test_a_history_shows_who_said_what_and_leaves_out_what_nobody_said():
    figure = figures.history(ROWS, ["crow", "heron"])
    ribbons = {t.name: list(zip(t.base, t.x, t.y, strict=True)) for t in figure.data if t.orientation == "h"}
    assert ribbons == {
        "crow": [(10, 10, "teacher")],
        "heron": [(10, 10, "student"), (20, 10, "student"), (20, 10, "teacher"), (30, 10, "student")],
    }
    colours = {t.name: t.marker.color for t in figure.data if t.orientation == "h"}
    assert colours == figures.colours(["crow", "heron"]), "as everywhere in the project"
    (bars,) = [t for t in figure.data if t.type == "bar" and t.orientation is None]
    assert (list(bars.x), list(bars.y)) == ([10, 30], [0.1, -0.1])
    assert bars.marker.color == (figures.HELPED, figures.HARMED)


def test_a_history_of_one_record_has_a_ribbon_too():
    figure = figures.history(ROWS[:1], ["crow", "heron"])
    assert [t.x for t in figure.data if t.orientation == "h"] == [(1,), (1,)]


def test_class_names_are_no_markup_in_a_figure():
    figure = figures.class_counts({"<b>crow</b>": 3, "h" * 60: 1})
    assert figure.data[0].y[0] == "&lt;b&gt;crow&lt;/b&gt;"
    assert len(figure.data[0].y[1]) < 30
    history = figures.history([ROWS[0] | {"teacher_label": "<a href='x'>"}], ["crow"])
    assert "<a" not in history.to_json()


def test_the_first_classes_have_colours_of_their_own():
    colours = figures.colours([str(n) for n in range(len(figures.PALETTE))])
    assert len(set(colours.values())) == len(colours)
    assert figures.colours(["a", "b", "a", "c"]) == figures.colours(["a", "b", "c"])
