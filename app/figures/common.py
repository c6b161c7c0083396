"""Figures shared by several pages: rows in, a Plotly figure out.

Classes have the colours of the project (`gradebook.storage.class_history`). Teacher and student also differ in their
line style, so nothing depends on colour alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gradebook.storage.class_changes import OTHER, ProjectClass, hex_color

OTHERS = "other classes"
LINES = ("#2C97A0", "#E69F00", "#CC79A7", "#56B4E9", "#8C8C8C")
FONT_PX = 13  # of texts in figures; Streamlit's theme has less than 12
GREY = "#9A9A9A"  # not used for a class
TEACHER, STUDENT = "#2C97A0", "#A07C5B"  # not used for classes
PERCENT_TITLES = (
    "Validation accuracy",
    "Teacher–student agreement",
    "Confident pseudo-labels",
    "Pseudo-label accuracy",
    "Share of feedback in the teacher's gradient",
)
GROUPS = {  # title -> the metrics in one figure, in this order
    "Validation accuracy": (
        "validation_accuracy",
        "teacher_validation_accuracy",
        "validation_accuracy_ema",
        "ema_accuracy",
    ),
    "Teacher–student agreement": ("agreement",),
    "Losses, nats": ("student_loss", "teacher_loss", "supervised_loss", "uda_loss", "pseudo_loss", "feedback_loss"),
    "Confident pseudo-labels": ("confident",),
    "Feedback, root mean square": ("feedback_rms",),
    "Share of feedback in the teacher's gradient": ("feedback_share",),
}
COMPARED = {  # metric by which runs are compared -> title
    "validation_accuracy": "Validation accuracy",
    "pseudo_label_accuracy": "Pseudo-label accuracy",
    "agreement": "Teacher–student agreement",
    "student_loss": "Student loss, nats",
}
# Columns without a figure: some of them have one value, at the end of a run.
NOT_PLOTTED = ("step", "seconds", "images_per_second", "steps", "cross_validated_labels", "temperature")


def class_probabilities(probabilities: Mapping[str, float], colors: Mapping[str, str], max_classes: int = 6) -> Any:
    """Returns a horizontal bar for each of the most probable classes, the first on top, in its class's color."""
    import plotly.graph_objects as go

    top = sorted(probabilities.items(), key=lambda pair: -pair[1])[:max_classes]
    figure = go.Figure(
        go.Bar(
            x=[p for _, p in top],
            y=list(range(len(top))),  # not names: two may be equal once they are shortened
            orientation="h",
            text=[f"{p:.1%}" for _, p in top],
            textposition="outside",
            cliponaxis=False,
            marker_color=[colors.get(name, OTHER) for name, _ in top],
            customdata=[escape_html(name) for name, _ in top],
            hovertemplate="%{customdata}: %{x:.2%}<extra></extra>",
        )
    )
    names = [short_label(name) for name, _ in top]
    figure.update_yaxes(autorange="reversed", tickmode="array", tickvals=list(range(len(top))), ticktext=names)
    figure.update_xaxes(visible=False, range=[0, 1])
    return with_layout(figure, height=34 * max(len(top), 1) + 8, bargap=0.35, margin={"l": 4, "r": 52, "t": 4, "b": 4})


def metric_curves(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns a figure for each group of metrics in the rows, by title; metrics of no group come last."""
    metrics = [key for key in dict.fromkeys(key for row in rows for key in row) if key not in NOT_PLOTTED]
    metrics = [key for key in metrics if any(isinstance(row.get(key), int | float) for row in rows)]
    groups = {title: [key for key in keys if key in metrics] for title, keys in GROUPS.items()}
    grouped = {key for keys in groups.values() for key in keys}
    groups |= {key.replace("_", " ").capitalize(): [key] for key in metrics if key not in grouped}
    return {
        title: _line_chart(title, rows, {key: key.replace("_", " ") for key in keys})
        for title, keys in groups.items()
        if keys
    }


def compare_runs(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Returns a figure for each metric of `COMPARED` that several runs have, by title; each run is a line."""
    figures = {}
    for key, title in COMPARED.items():
        rows = [{"step": row["step"], name: row.get(key)} for name, rows in runs.items() for row in rows]
        names = [name for name in runs if any(isinstance(row.get(name), int | float) for row in rows)]
        if len(names) > 1:
            figures[title] = _line_chart(title, rows, {name: name for name in names})
    return figures


def class_colors(classes: Iterable[ProjectClass]) -> dict[str, str]:
    """Returns the color of each class that has one of its own; the others are drawn as `OTHERS`, in `OTHER`."""
    return {one.name: hex_color(one) for one in classes if one.color is not None}


def with_alpha(color: str, alpha: float) -> str:
    """Returns a colour #RRGGBB with an opacity in [0, 1]."""
    r, g, b = (int(color[k : k + 2], 16) for k in (1, 3, 5))
    return f"rgba({r},{g},{b},{alpha:.2f})"


def with_layout(figure: Any, **layout: Any) -> Any:
    """Returns the figure with the margins and font size of this app and the given layout."""
    font = {"size": FONT_PX}
    figure.update_xaxes(tickfont=font, title_font=font)
    figure.update_yaxes(tickfont=font, title_font=font)
    figure.update_layout(margin={"l": 4, "r": 28, "t": 40, "b": 4}, font=font, legend_font=font)
    figure.update_layout(layout)
    return figure


def short_label(name: str, max_chars: int = 24) -> str:
    """Returns a name that fits on an axis, of at most `max_chars` characters, escaped for Plotly."""
    return escape_html(name if len(name) <= max_chars else name[: max_chars - 1] + "…")


def with_swatch(name: str, color: str) -> str:
    """Returns a name that is escaped for Plotly, after a square in the color of its class."""
    return f'<span style="color:{color}">■</span> {name}'


def escape_html(text: str) -> str:
    """Returns `text` with the characters of HTML escaped: Plotly would render <b> and <a>."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _line_chart(title: str, rows: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> Any:
    """Returns a line over the steps for each key of `names`, with that name in the legend."""
    import plotly.graph_objects as go

    dashes = ("solid", "dot", "dash", "dashdot", "longdash")
    figure = go.Figure()
    for n, (key, name) in enumerate(names.items()):
        points = [row for row in rows if isinstance(row.get(key), int | float)]
        figure.add_trace(
            go.Scatter(
                x=[row["step"] for row in points],
                y=[row[key] for row in points],
                mode="lines+markers" if len(points) < 3 else "lines",
                name=short_label(name, 32),
                line={"width": 2, "color": LINES[n % len(LINES)], "dash": dashes[n % len(dashes)]},
            )
        )
    figure.update_xaxes(title_text="step", title_standoff=6, rangemode="tozero")
    if title in PERCENT_TITLES:
        figure.update_yaxes(tickformat=".0%", range=[0, 1.02])
    figure.update_layout(title={"text": escape_html(title), "font_size": 14}, showlegend=len(names) > 1)
    height = 294 if len(names) > 3 else 270  # a legend of more than three names takes two lines
    return with_layout(figure, height=height, legend={"orientation": "h", "y": -0.42, "x": 0})
