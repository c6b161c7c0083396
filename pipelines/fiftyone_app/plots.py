"""The record of one sample as a Plotly figure, in plain data that FiftyOne's App draws, styled like Gradebook's app."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

TEACHER, STUDENT = "#2C97A0", "#A07C5B"
HELPED, HARMED = "#2C97A0", "#D55E00"
FONT = "#8C8C8C"  # legible on FiftyOne's dark and light backgrounds


def evolution(rows: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Returns data and layout: the predicted class and its probability over steps, and the feedback below.

    Args:
        rows: one run's rows of `Record.history`.
    """
    lines = [
        _line(rows, who, colour, dash)
        for who, colour, dash in (("teacher", TEACHER, "solid"), ("student", STUDENT, "dot"))
    ]
    return [*lines, _feedback(rows)], {
        "xaxis": {"title": {"text": f"step of {escape(rows[0]['run'], quote=False)}"}, "anchor": "y2"},
        "yaxis": {
            "title": {"text": "teacher (solid), student (dotted)"},
            "domain": [0.45, 1],
            "range": [0, 1.02],
            "tickformat": ".0%",
        },
        "yaxis2": {"title": {"text": "feedback, nats"}, "domain": [0, 0.36]},
        "showlegend": True,
        "legend": {"orientation": "h", "y": 1.12, "x": 0},
        "margin": {"l": 64, "r": 16, "t": 32, "b": 48},
        "font": {"color": FONT},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
    }


def _line(rows: Sequence[Mapping[str, Any]], who: str, colour: str, dash: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": who,
        "x": [row["step"] for row in rows],
        "y": [row[f"{who}_probability"] for row in rows],
        "text": [escape(row[f"{who}_label"] or "no class", quote=False) for row in rows],
        "hovertemplate": f"step %{{x}}: {who} predicts %{{text}}, %{{y:.0%}}<extra></extra>",
        "line": {"color": colour, "dash": dash, "width": 2},
        "marker": {"size": 5},
    }


def _feedback(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    known = [row for row in rows if row["feedback"] is not None]
    return {
        "type": "bar",
        "name": "feedback",
        "yaxis": "y2",
        "showlegend": False,
        "x": [row["step"] for row in known],
        "y": [row["feedback"] for row in known],
        "text": [escape(row["best_label"] or "no class", quote=False) for row in known],
        "textposition": "none",
        "hovertemplate": "step %{x}: %{y:.2g}; %{text} would have helped most<extra></extra>",
        "marker": {"color": [HELPED if row["feedback"] >= 0 else HARMED for row in known]},
    }
