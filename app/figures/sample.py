"""The figures of one sample's evolution: rows of the record in, a Plotly figure out. Colours as in
`gradebook.app.figures.common`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from gradebook.app.figures.common import GREY, calm, colours, escaped, short

RIBBONS = ("student", "runner-up", "teacher")  # from below
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star", "triangle-down", "hexagon")
HATCHES = ("", "/", "x", ".", "\\", "+", "|", "-")  # of ribbons


def history(rows: Sequence[Mapping[str, Any]], classes: Sequence[str], given: Mapping[int, str | None]) -> Any:
    """Returns what teacher and student said of one sample over the steps of one run, and the feedback, class by class.

    Args:
        rows: the sample's rows of `Record.history`.
        classes: the project's, which decide the colours.
        given: step -> the label that the run was given then, None where one was taken back.
    """
    from plotly.subplots import make_subplots

    figure = make_subplots(
        rows=4,
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.075,
        row_heights=[0.19, 0.27, 0.27, 0.27],
        subplot_titles=(
            "What each said",
            "Teacher's probability of the class it named",
            "Student's probability of the class it named",
            "Feedback, nats: ● teacher's class, ◇ best class",
        ),
    )
    look = _looks([*classes, *(row[name] for row in rows for name in _NAMES)])
    _add_ribbons(figure, rows, look)
    _add_said(figure, rows, look, "teacher", 2)
    _add_said(figure, rows, look, "student", 3)
    _add_feedback(figure, rows, look)
    _add_given(figure, given, rows)
    figure.update_xaxes(title_text="step", row=4, col=1)
    for row in (2, 3):
        figure.update_yaxes(range=[0, 1.05], tickformat=".0%", nticks=4, row=row, col=1)
    figure.update_annotations(x=0, xanchor="left", font_size=13, selector={"xref": "paper"})
    figure.update_layout(barmode="overlay", legend={"orientation": "h", "y": -0.1, "x": 0})
    return calm(figure, height=640, margin={"l": 4, "r": 28, "t": 24, "b": 4})


def across(histories: Mapping[str, Sequence[Mapping[str, Any]]], classes: Sequence[str]) -> Any:
    """Returns two ribbons for each run, what its teacher and its student said of one sample over its own steps."""
    import plotly.graph_objects as go

    figure = go.Figure()
    look = _looks([*classes, *(row[name] for rows in histories.values() for row in rows for name in _NAMES)])
    seen: set[str] = set()
    for run, rows in histories.items():
        last = max(row["step"] for row in rows)
        for who in ("student", "teacher"):
            for label, start, end in _stretches(rows, f"{who}_label"):
                figure.add_trace(
                    go.Bar(
                        base=[start / last],
                        x=[(end - start) / last],
                        y=[[short(run)], [who]],
                        orientation="h",
                        width=0.6,
                        name=short(label),
                        legendgroup=label,
                        showlegend=label not in seen,
                        marker=_ribbon(look[label]),
                        hovertemplate=f"steps {start} to {end}: {who} said {escaped(label)}<extra></extra>",
                    )
                )
                seen.add(label)
    figure.update_xaxes(tickformat=".0%", range=[0, 1], title_text="of each run's steps")
    figure.update_layout(barmode="overlay", legend={"orientation": "h", "y": -0.25, "x": 0})
    return calm(figure, height=90 + 70 * len(histories), margin={"l": 4, "r": 28, "t": 8, "b": 4})


_NAMES = ("teacher_label", "runner_up", "student_label", "best_label")


def _looks(names: Sequence[str | None]) -> dict[str, tuple[str, str, str]]:
    """Returns a colour, a symbol and a hatching for each class: where colours come again, the others differ."""
    known = list(dict.fromkeys(name for name in names if name is not None))
    paint = colours(known)
    turn = [k // (len(set(paint.values())) or 1) for k in range(len(known))]
    return {
        name: (paint[name], SYMBOLS[k % len(SYMBOLS)], HATCHES[k % len(HATCHES)])
        for k, name in zip(turn, known, strict=True)
    }


def _ribbon(look: tuple[str, str, str]) -> dict[str, Any]:
    hatch = {
        "shape": look[2],
        "fillmode": "overlay",
        "fgcolor": "white",
        "fgopacity": 0.55,
        "size": 6,
        "solidity": 0.25,
    }
    return {"color": look[0], "line_width": 0, "pattern": hatch}


def _stretches(rows: Sequence[Mapping[str, Any]], column: str) -> list[tuple[str, int, int]]:
    """Returns what was said from which step until which, neighbours that say the same as one; silence is left out."""
    steps = [row["step"] for row in rows]
    ends = [*steps[1:], 2 * steps[-1] - steps[-2] if len(steps) > 1 else steps[0] + 1]
    found: list[tuple[str, int, int]] = []
    for row, end in zip(rows, ends, strict=True):
        if row[column] is None:
            continue
        if found and found[-1][0] == row[column] and found[-1][2] == row["step"]:
            found[-1] = (row[column], found[-1][1], end)
        else:
            found.append((row[column], row["step"], end))
    return found


def _add_ribbons(figure: Any, rows: Sequence[Mapping[str, Any]], look: Mapping[str, tuple[str, str, str]]) -> None:
    """Adds a ribbon for each network, coloured and named by the class it said, from each record to the next."""
    import plotly.graph_objects as go

    said = [
        (who, *stretch)
        for who, column in zip(RIBBONS, ("student_label", "runner_up", "teacher_label"), strict=True)
        for stretch in _stretches(rows, column)
    ]
    for name in dict.fromkeys(label for _, label, _, _ in said):
        mine = [one for one in said if one[1] == name]
        figure.add_trace(
            go.Bar(
                base=[start for _, _, start, _ in mine],
                x=[end - start for _, _, start, end in mine],
                y=[who for who, *_ in mine],
                orientation="h",
                width=0.62,
                name=short(name),
                legendgroup=name,
                marker=_ribbon(look[name]) | {"opacity": [0.45 if m[0] == "runner-up" else 1 for m in mine]},
                customdata=[[escaped(name), start, end] for _, _, start, end in mine],
                hovertemplate="steps %{customdata[1]} to %{customdata[2]}: %{y} %{customdata[0]}<extra></extra>",
            ),
            row=1,
            col=1,
        )
    figure.update_yaxes(categoryorder="array", categoryarray=RIBBONS, row=1, col=1)


def _add_said(
    figure: Any, rows: Sequence[Mapping[str, Any]], look: Mapping[str, tuple[str, str, str]], who: str, row: int
) -> None:
    """Adds a line for each class that a network named, with gaps where it named another."""
    import plotly.graph_objects as go

    for name in dict.fromkeys(r[f"{who}_label"] for r in rows if r[f"{who}_label"] is not None):
        paint, symbol, _ = look[name]
        figure.add_trace(
            go.Scatter(
                x=[r["step"] for r in rows],
                y=[r[f"{who}_probability"] if r[f"{who}_label"] == name else None for r in rows],
                mode="lines+markers",
                connectgaps=False,
                showlegend=False,
                legendgroup=name,
                line={"color": paint, "width": 1.6, "dash": "solid" if who == "teacher" else "dot"},
                marker={"size": 6, "symbol": symbol},
                hovertemplate=f"step %{{x}}: {who} {escaped(name)}, %{{y:.0%}}<extra></extra>",
            ),
            row=row,
            col=1,
        )


def _add_feedback(figure: Any, rows: Sequence[Mapping[str, Any]], look: Mapping[str, tuple[str, str, str]]) -> None:
    import plotly.graph_objects as go

    known = [row for row in rows if row["feedback"] is not None]
    of_said = [(r["teacher_label"], r["step"], r["feedback"]) for r in known]
    of_best = [
        (r["best_label"], r["step"], r["feedback"] + r["best_gain"])
        for r in known
        if r["best_label"] not in (None, r["teacher_label"]) and r.get("best_gain") is not None
    ]
    for points, symbol, size, what in (
        (of_best, "diamond-open", 6, "would have helped most"),
        (of_said, "circle", 5, "said"),
    ):
        for name in dict.fromkeys(name for name, _, _ in points if name is not None):
            figure.add_trace(
                go.Scatter(
                    x=[step for label, step, _ in points if label == name],
                    y=[value for label, _, value in points if label == name],
                    mode="markers",
                    showlegend=False,
                    legendgroup=name,
                    marker={"size": size, "color": look[name][0], "symbol": symbol},
                    hovertemplate=f"step %{{x}}: {escaped(name)} ({what}) %{{y:.2g}}<extra></extra>",
                ),
                row=4,
                col=1,
            )
    figure.add_hline(y=0, line={"color": GREY, "width": 1}, row=4, col=1)


def _add_given(figure: Any, given: Mapping[int, str | None], rows: Sequence[Mapping[str, Any]]) -> None:
    """Adds a line through all parts where the run was given a label of the sample."""
    for step, label in given.items():
        text = "label taken back" if label is None else f"labelled {short(label)}"
        figure.add_vline(x=step, line={"color": GREY, "width": 2, "dash": "dash"})
        late = step > rows[len(rows) // 2]["step"]
        figure.add_annotation(
            x=step,
            y=1.0,
            yref="y2 domain",
            text=text,
            showarrow=False,
            xanchor="right" if late else "left",
            yanchor="top",
        )
