"""The figures: rows in, a Plotly figure out.

Colours are Okabe and Ito's, which stay apart for every common kind of colour-blindness; teacher and student also
differ in their line, so that nothing hangs on colour alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C6D31", "#7F7F7F")
BARS = "#2C97A0"
LINES = ("#2C97A0", "#E69F00", "#CC79A7", "#56B4E9", "#8C8C8C")
GREY = "#9A9A9A"  # no class either
TEACHER, STUDENT = "#2C97A0", "#A07C5B"  # no class's colour
SHARES = (
    "Validation accuracy",
    "Teacher and student agree",
    "Confident pseudo-labels",
    "Pseudo-labels that are right",
)  # drawn in percent
GROUPS = {  # title -> the metrics drawn together, in this order
    "Validation accuracy": ("validation_accuracy", "validation_accuracy_ema", "ema_accuracy"),
    "Teacher and student agree": ("agreement",),
    "Losses, nats": ("student_loss", "teacher_loss", "supervised_loss", "uda_loss", "pseudo_loss", "feedback_loss"),
    "Confident pseudo-labels": ("confident",),
    "Feedback, root mean square": ("feedback_rms",),
}
COMPARED = {  # of several runs, and the title
    "validation_accuracy": "Validation accuracy",
    "pseudo_label_accuracy": "Pseudo-labels that are right",
    "agreement": "Teacher and student agree",
    "student_loss": "Student's loss, nats",
}
APART = ("step", "seconds", "images_per_second", "steps")  # not drawn unless asked for


def guesses(probabilities: Mapping[str, float], most: int = 6) -> Any:
    """Returns a bar for each of the likeliest classes, the likeliest on top."""
    import plotly.graph_objects as go

    best = sorted(probabilities.items(), key=lambda pair: -pair[1])[:most]
    figure = go.Figure(
        go.Bar(
            x=[p for _, p in best],
            y=list(range(len(best))),  # names may repeat once they are shortened
            orientation="h",
            text=[f"{p:.1%}" for _, p in best],
            textposition="outside",
            cliponaxis=False,
            marker_color=[BARS, *["#8C8C8C"] * (len(best) - 1)],
            customdata=[escaped(name) for name, _ in best],
            hovertemplate="%{customdata}: %{x:.2%}<extra></extra>",
        )
    )
    names = [short(name) for name, _ in best]
    figure.update_yaxes(autorange="reversed", tickmode="array", tickvals=list(range(len(best))), ticktext=names)
    figure.update_xaxes(visible=False, range=[0, 1])
    return calm(figure, height=34 * max(len(best), 1) + 8, bargap=0.35, margin={"l": 4, "r": 52, "t": 4, "b": 4})


def curves(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns a figure for each group of metrics that the rows have, by its title, unknown ones at the end."""
    seen = [key for key in dict.fromkeys(key for row in rows for key in row) if key not in APART]
    seen = [key for key in seen if any(isinstance(row.get(key), int | float) for row in rows)]
    groups = {title: [key for key in keys if key in seen] for title, keys in GROUPS.items()}
    known = {key for keys in groups.values() for key in keys}
    groups |= {key.replace("_", " ").capitalize(): [key] for key in seen if key not in known}
    return {
        title: _lines(title, rows, {key: key.replace("_", " ") for key in keys})
        for title, keys in groups.items()
        if keys
    }


def together(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Returns a figure for each metric of `COMPARED` that several runs have reported: a line for each run, by name."""
    drawn = {}
    for key, title in COMPARED.items():
        rows = [{"step": row["step"], name: row.get(key)} for name, rows in runs.items() for row in rows]
        known = [name for name in runs if any(isinstance(row.get(name), int | float) for row in rows)]
        if len(known) > 1:
            drawn[title] = _lines(title, rows, {name: name for name in known})
    return drawn


def colours(classes: Sequence[str]) -> dict[str, str]:
    """Returns a colour for each class; past eight classes they come again, and the text tells them apart."""
    return {name: PALETTE[n % len(PALETTE)] for n, name in enumerate(dict.fromkeys(classes))}


def calm(figure: Any, **layout: Any) -> Any:
    """Returns a figure with our margins and this layout."""
    figure.update_layout({"margin": {"l": 4, "r": 28, "t": 40, "b": 4}, **layout})
    return figure


def short(name: str, most: int = 24) -> str:
    """Returns a name that an axis has room for: so many characters at most."""
    return escaped(name if len(name) <= most else name[: most - 1] + "…")


def escaped(text: str) -> str:
    """Returns `text` with Plotly's tags made harmless: it draws <b> bold and makes <a> a link."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _lines(title: str, rows: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> Any:
    """Returns a line for each key of `names` that rows have, called by its name."""
    import plotly.graph_objects as go

    dashes = ("solid", "dot", "dash", "dashdot", "longdash")
    figure = go.Figure()
    for n, (key, name) in enumerate(names.items()):
        known = [row for row in rows if isinstance(row.get(key), int | float)]
        figure.add_trace(
            go.Scatter(
                x=[row["step"] for row in known],
                y=[row[key] for row in known],
                mode="lines+markers" if len(known) < 3 else "lines",
                name=short(name),
                line={"width": 2, "color": LINES[n % len(LINES)], "dash": dashes[n % len(dashes)]},
            )
        )
    figure.update_xaxes(title_text="step", title_standoff=6, rangemode="tozero")
    if title in SHARES:
        figure.update_yaxes(tickformat=".0%", range=[0, 1.02])
    figure.update_layout(title={"text": escaped(title), "font_size": 14}, showlegend=len(names) > 1)
    height = 294 if len(names) > 3 else 270  # the names below take two rows
    return calm(figure, height=height, legend={"orientation": "h", "y": -0.42, "x": 0})
