"""The figure of a selection: how the predictions for its samples developed over a run."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gradebook.app.figures.common import (
    OTHERS,
    STUDENT,
    TEACHER,
    escape_html,
    short_label,
    with_alpha,
    with_layout,
)
from gradebook.pipelines.reporting.training_dynamics import DynamicsCurves
from gradebook.storage.class_changes import OTHER

TITLES = (
    "Probability of the predicted class: median and quartiles",
    "Teacher's label changes, teacher–student agreement",
    "Classes that the teacher predicted",
)


def dynamics(curves: DynamicsCurves, colors: Mapping[str, str]) -> Any:
    """Returns three charts over the steps, as in `TITLES`."""
    from plotly.subplots import make_subplots

    figure = make_subplots(
        rows=3, cols=1, shared_xaxes=True, vertical_spacing=0.1, row_heights=[0.4, 0.27, 0.33], subplot_titles=TITLES
    )
    _add_quartiles(figure, curves.steps, curves.teacher, "teacher", TEACHER, "solid")
    _add_quartiles(figure, curves.steps, curves.student, "student", STUDENT, "dot")
    _add_share(figure, curves.steps, curves.flips, "label changes", "#D55E00", "solid")
    _add_share(figure, curves.steps, curves.agreement, "agreement", "#0072B2", "dash")
    _add_classes(figure, curves, colors)
    for row in (1, 2, 3):
        figure.update_yaxes(range=[0, 1.02], tickformat=".0%", nticks=4, row=row, col=1)
    figure.update_xaxes(title_text="step", row=3, col=1)
    figure.update_annotations(x=0, xanchor="left", font_size=13)
    figure.update_layout(legend={"orientation": "h", "y": -0.13, "x": 0, "traceorder": "normal"})
    return with_layout(figure, height=600, margin={"l": 4, "r": 28, "t": 24, "b": 4})


def _add_quartiles(figure: Any, steps: Any, quartiles: Any, network: str, color: str, dash: str) -> None:
    """Adds the median of a network's probabilities as a line, and the band between its quartiles."""
    import plotly.graph_objects as go

    known = ~np.isnan(quartiles).any(1)
    low, median, high = quartiles[known].T
    for y, fill, width, name in ((low, None, 0, ""), (high, "tonexty", 0, ""), (median, None, 2.2, network)):
        figure.add_trace(
            go.Scatter(
                x=steps[known],
                y=y,
                mode="lines",
                fill=fill,
                fillcolor=with_alpha(color, 0.18),
                line={"color": color, "width": width, "dash": dash},
                name=name,
                showlegend=bool(name),
                hoverinfo=None if name else "skip",
                hovertemplate=f"step %{{x:.0f}}: {network}, median %{{y:.0%}}<extra></extra>" if name else None,
            ),
            row=1,
            col=1,
        )


def _add_share(figure: Any, steps: Any, share: Any, name: str, color: str, dash: str) -> None:
    import plotly.graph_objects as go

    hover = f"step %{{x:.0f}}: {name} %{{y:.0%}}<extra></extra>"
    line = {"color": color, "width": 2, "dash": dash}
    figure.add_trace(
        go.Scatter(x=steps, y=share, mode="lines", name=name, line=line, hovertemplate=hover), row=2, col=1
    )


def _add_classes(figure: Any, curves: DynamicsCurves, colors: Mapping[str, str]) -> None:
    """Adds a band for each class with a color that the teacher predicted, and one for the others."""
    import plotly.graph_objects as go

    bands = {name: np.nan_to_num(curves.shares[name]) for name in colors if name in curves.shares}
    if others := [name for name in curves.shares if name not in colors]:
        bands[OTHERS] = np.sum([np.nan_to_num(curves.shares[name]) for name in others], axis=0)
    for name, band in bands.items():
        color = colors.get(name, OTHER)
        figure.add_trace(
            go.Scatter(
                x=curves.steps,
                y=band,
                mode="lines",
                stackgroup="classes",
                name=short_label(name),
                line={"width": 0.5, "color": color},
                fillcolor=with_alpha(color, 0.75),
                hovertemplate=f"step %{{x:.0f}}: {escape_html(name)} %{{y:.0%}}<extra></extra>",
            ),
            row=3,
            col=1,
        )
