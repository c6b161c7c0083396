"""The figures of one sample: rows of the record in, a Plotly figure out."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gradebook.app.figures.common import GREY, escape_html, short_label, with_layout
from gradebook.storage.class_changes import OTHER

RIBBONS = ("student", "runner-up", "teacher")  # from the bottom
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star", "triangle-down", "hexagon")
HATCHES = ("", "/", "x", ".", "\\", "+", "|", "-")  # of ribbons
GREYS = ("#5A5A5A", "#A6A6A6")  # of further classes without a color
LABEL_COLUMNS = ("teacher_label", "runner_up", "student_label", "best_label")

Rows = Sequence[Mapping[str, Any]]  # of `Record.history`, in the order of their steps


class ClassStyle(NamedTuple):
    """The style of a class. Classes without a color of their own have different symbols and hatchings."""

    color: str
    symbol: str
    hatch: str


Styles = Mapping[str, ClassStyle]


def training_history(rows: Rows, colors: Mapping[str, str], given: Mapping[int, str | None]) -> Any:
    """Returns the predictions of teacher and student for one sample over the steps of a run, and the feedback.

    Args:
        rows: the sample's rows of one run.
        colors: of the project's classes, `class_colors`.
        given: step -> the label that the run was given then; None where a label was undone.
    """
    from plotly.subplots import make_subplots

    figure = make_subplots(
        rows=4,
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.075,
        row_heights=[0.19, 0.27, 0.27, 0.27],
        subplot_titles=(
            "Predicted class",
            "Teacher: probability of its predicted class",
            "Student: probability of its predicted class",
            "Feedback, nats: ● teacher's class, ◇ best class",
        ),
    )
    styles = _class_styles([row[name] for row in rows for name in LABEL_COLUMNS], colors)
    _add_ribbons(figure, rows, styles)
    _add_probabilities(figure, rows, styles, "teacher", 2)
    _add_probabilities(figure, rows, styles, "student", 3)
    _add_feedback(figure, rows, styles)
    _add_given_labels(figure, given, rows)
    figure.update_xaxes(title_text="step", row=4, col=1)
    for row in (2, 3):
        figure.update_yaxes(range=[0, 1.05], tickformat=".0%", nticks=4, row=row, col=1)
    figure.update_annotations(x=0, xanchor="left", font_size=13, selector={"xref": "paper"})
    figure.update_layout(barmode="overlay", legend={"orientation": "h", "y": -0.1, "x": 0})
    return with_layout(figure, height=640, margin={"l": 4, "r": 28, "t": 24, "b": 4})


def across_runs(histories: Mapping[str, Rows], colors: Mapping[str, str]) -> Any:
    """Returns two ribbons for each run: the predictions of its teacher and student for one sample over its steps."""
    import plotly.graph_objects as go

    figure = go.Figure()
    styles = _class_styles([row[name] for rows in histories.values() for row in rows for name in LABEL_COLUMNS], colors)
    in_legend: set[str] = set()
    for run, rows in histories.items():
        last = max(row["step"] for row in rows)
        for network in ("student", "teacher"):
            for label, start, end in _spans(rows, f"{network}_label"):
                figure.add_trace(
                    go.Bar(
                        base=[start / last],
                        x=[(end - start) / last],
                        y=[[short_label(run)], [network]],
                        orientation="h",
                        width=0.6,
                        name=short_label(label),
                        legendgroup=label,
                        showlegend=label not in in_legend,
                        marker=_ribbon_marker(styles[label]),
                        hovertemplate=f"steps {start} to {end}: {network} predicts {escape_html(label)}<extra></extra>",
                    )
                )
                in_legend.add(label)
    figure.update_xaxes(tickformat=".0%", range=[0, 1], title_text="share of each run's steps")
    figure.update_layout(barmode="overlay", legend={"orientation": "h", "y": -0.25, "x": 0})
    return with_layout(figure, height=90 + 70 * len(histories), margin={"l": 4, "r": 28, "t": 8, "b": 4})


def _class_styles(names: Sequence[str | None], colors: Mapping[str, str]) -> dict[str, ClassStyle]:
    """Returns a style for each class; those without a color differ in symbol, hatching and grey."""
    classes = list(dict.fromkeys(name for name in names if name is not None))
    others = [name for name in classes if name not in colors]
    styles = {name: ClassStyle(colors[name], SYMBOLS[0], HATCHES[0]) for name in classes if name in colors}
    greys = [OTHER, *GREYS]
    return styles | {
        name: ClassStyle(greys[k // (len(SYMBOLS) - 1) % len(greys)], *_mark(k)) for k, name in enumerate(others)
    }


def _mark(k: int) -> tuple[str, str]:
    """Returns a symbol and a hatching that no class with a color has."""
    n = 1 + k % (len(SYMBOLS) - 1)
    return SYMBOLS[n], HATCHES[n]


def _ribbon_marker(style: ClassStyle) -> dict[str, Any]:
    pattern = {"shape": style.hatch, "fillmode": "overlay", "fgcolor": "white", "fgopacity": 0.55, "size": 6}
    return {"color": style.color, "line_width": 0, "pattern": {**pattern, "solidity": 0.25}}


def _spans(rows: Rows, column: str) -> list[tuple[str, int, int]]:
    """Returns (label, first step, end) for each span of equal labels in a column; rows without a label are left out."""
    steps = [row["step"] for row in rows]
    ends = [*steps[1:], 2 * steps[-1] - steps[-2] if len(steps) > 1 else steps[0] + 1]
    spans: list[tuple[str, int, int]] = []
    for row, end in zip(rows, ends, strict=True):
        if row[column] is None:
            continue
        if spans and spans[-1][0] == row[column] and spans[-1][2] == row["step"]:
            spans[-1] = (row[column], spans[-1][1], end)
        else:
            spans.append((row[column], row["step"], end))
    return spans


def _add_ribbons(figure: Any, rows: Rows, styles: Styles) -> None:
    """Adds a ribbon for each network, with the colour of the predicted class from each record to the next."""
    import plotly.graph_objects as go

    columns = zip(RIBBONS, ("student_label", "runner_up", "teacher_label"), strict=True)
    spans = [(ribbon, *span) for ribbon, column in columns for span in _spans(rows, column)]
    for name in dict.fromkeys(label for _, label, _, _ in spans):
        of_class = [span for span in spans if span[1] == name]
        opacity = [0.45 if ribbon == "runner-up" else 1 for ribbon, *_ in of_class]
        figure.add_trace(
            go.Bar(
                base=[start for _, _, start, _ in of_class],
                x=[end - start for _, _, start, end in of_class],
                y=[ribbon for ribbon, *_ in of_class],
                orientation="h",
                width=0.62,
                name=short_label(name),
                legendgroup=name,
                marker=_ribbon_marker(styles[name]) | {"opacity": opacity},
                customdata=[[escape_html(name), start, end] for _, _, start, end in of_class],
                hovertemplate="steps %{customdata[1]} to %{customdata[2]}: %{y} %{customdata[0]}<extra></extra>",
            ),
            row=1,
            col=1,
        )
    figure.update_yaxes(categoryorder="array", categoryarray=RIBBONS, row=1, col=1)


def _add_probabilities(figure: Any, rows: Rows, styles: Styles, network: str, row: int) -> None:
    """Adds a line for each class that a network predicted, with gaps where it predicted another."""
    import plotly.graph_objects as go

    for name in dict.fromkeys(r[f"{network}_label"] for r in rows if r[f"{network}_label"] is not None):
        style = styles[name]
        figure.add_trace(
            go.Scatter(
                x=[r["step"] for r in rows],
                y=[r[f"{network}_probability"] if r[f"{network}_label"] == name else None for r in rows],
                mode="lines+markers",
                connectgaps=False,
                showlegend=False,
                legendgroup=name,
                line={"color": style.color, "width": 1.6, "dash": "solid" if network == "teacher" else "dot"},
                marker={"size": 6, "symbol": style.symbol},
                hovertemplate=f"step %{{x}}: {network} {escape_html(name)}, %{{y:.0%}}<extra></extra>",
            ),
            row=row,
            col=1,
        )


def _add_feedback(figure: Any, rows: Rows, styles: Styles) -> None:
    """Adds the feedback of the teacher's class, and of the best class where the two differ."""
    import plotly.graph_objects as go

    recorded = [row for row in rows if row["feedback"] is not None]
    teacher = [(r["teacher_label"], r["step"], r["feedback"]) for r in recorded]
    best = [
        (r["best_label"], r["step"], r["feedback"] + r["best_gain"])
        for r in recorded
        if r["best_label"] not in (None, r["teacher_label"]) and r.get("best_gain") is not None
    ]
    for points, symbol, size, meaning in (
        (best, "diamond-open", 6, "best class"),
        (teacher, "circle", 5, "teacher's class"),
    ):
        for name in dict.fromkeys(name for name, _, _ in points if name is not None):
            figure.add_trace(
                go.Scatter(
                    x=[step for label, step, _ in points if label == name],
                    y=[value for label, _, value in points if label == name],
                    mode="markers",
                    showlegend=False,
                    legendgroup=name,
                    marker={"size": size, "color": styles[name].color, "symbol": symbol},
                    hovertemplate=f"step %{{x}}: {escape_html(name)} ({meaning}) %{{y:.2g}}<extra></extra>",
                ),
                row=4,
                col=1,
            )
    figure.add_hline(y=0, line={"color": GREY, "width": 1}, row=4, col=1)


def _add_given_labels(figure: Any, given: Mapping[int, str | None], rows: Rows) -> None:
    """Adds a vertical line at each step at which the run was given a label of the sample."""
    for step, label in given.items():
        figure.add_vline(x=step, line={"color": GREY, "width": 2, "dash": "dash"})
        in_second_half = step > rows[len(rows) // 2]["step"]
        figure.add_annotation(
            x=step,
            y=1.0,
            yref="y2 domain",
            text="label undone" if label is None else f"labelled {short_label(label)}",
            showarrow=False,
            xanchor="right" if in_second_half else "left",
            yanchor="top",
        )
